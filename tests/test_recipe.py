from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tflq.errors import DatasetError, RecipeError, SourceError
from tflq.modes import MODES
from tflq.recipe import Recipe, dump, json_schema, load, only, place_of
from tflq.recipe_warnings import warnings
from tflq.strict import YamlSource, parse

RECIPES = Path(__file__).parent / "recipes"
GOOD = sorted((RECIPES / "good").glob("*.yaml"))
BAD = sorted((RECIPES / "bad").glob("*.yaml"))

every_good = pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)


@every_good
def test_good_recipe_runs_again_from_another_folder(path: Path, tmp_path: Path) -> None:
    recipe = load(path)
    folder = tmp_path / "build" / "net"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(dump(recipe, folder), encoding="utf-8")
    assert load(folder / "recipe.yaml") == recipe


@every_good
def test_dumped_recipe_reads_the_same_in_yaml_1_1(path: Path, tmp_path: Path) -> None:
    text = dump(load(path), tmp_path)
    assert yaml.safe_load(text) == parse(text, "recipe.yaml").data


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_recipe_is_refused_in_these_words(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """REWRITE=1 writes the words anew, to be looked at with git diff."""
    monkeypatch.chdir(path.parent)
    with pytest.raises(RecipeError) as error:
        load(path.name)
    words = path.with_suffix(".txt")
    if os.environ.get("REWRITE"):
        words.write_text(f"{error.value}\n", encoding="utf-8")
    assert f"{error.value}\n" == words.read_text(encoding="utf-8")


def test_reading_recipes_does_not_import_tensorflow() -> None:
    code = "import sys; from tflq.recipe import dump, load; dump(load(sys.argv[1]), '.'); print(*sys.modules)"
    everything = str(RECIPES / "good/everything.yaml")
    ran = subprocess.run([sys.executable, "-c", code, everything], check=True, capture_output=True, text=True)
    assert not {"tensorflow", "tensorflow_datasets", "keras", "tf_keras"} & set(ran.stdout.split())


def written(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_name_and_output_are_the_files(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, "model: net\nmode: float32\n", "phone.yaml"))
    assert (recipe.name, recipe.output) == ("phone", tmp_path / "build/phone")


def test_output_follows_the_name(tmp_path: Path) -> None:
    path = written(tmp_path, "model: net\nmode: float32\n")
    assert load(path, ["name=other"]).output == tmp_path / "build/other"


def test_name_of_the_file_may_be_no_name(tmp_path: Path) -> None:
    path = written(tmp_path, "model: net\nmode: float32\n", "my recipe (1).yaml")
    with pytest.raises(RecipeError, match=r"name: 'my recipe \(1\)' cannot be part of a file name"):
        load(path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("data.npz", "recipes/data.npz"), ("../data.npz", "data.npz"), ("/data.npz", "/data.npz"), ("~/x", "home/x")],
)
def test_paths_are_taken_from_the_recipes_folder(
    given: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "recipes").mkdir()
    text = f"model: net\nmode: int8\ncalibration: {{dataset: {{npz: {given}}}}}\n"
    recipe = load(written(tmp_path / "recipes", text))
    assert str(recipe.calibration and recipe.calibration.dataset) == str(tmp_path / expected)


def test_mode_is_short_for_one_variant(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, "model: net\nmode: dynamic\nconverter: {per_channel: false}\n"))
    assert [(variant.name, variant.mode, variant.per_channel) for variant in recipe.variants] == [
        ("dynamic", "dynamic", False)
    ]


def test_what_is_kept_in_float_concerns_no_mode_that_is_all_float(tmp_path: Path) -> None:
    text = "model: net\nconverter: {keep_float: [12, SOFTMAX]}\nvariants: [float32, float16, dynamic]\n"
    kept = {variant.mode: variant.keep_float for variant in load(written(tmp_path, text)).variants}
    assert kept == {"float32": (), "float16": (), "dynamic": ("#12", "SOFTMAX")}


def test_variant_overrides_the_converter(tmp_path: Path) -> None:
    text = """
        model: net
        converter: {per_channel: false, select_tf_ops: true}
        variants:
          - dynamic
          - {mode: dynamic, name: fine, per_channel: true}
    """
    first, second = load(written(tmp_path, text)).variants
    assert (first.per_channel, first.select_tf_ops) == (False, True)
    assert (second.per_channel, second.select_tf_ops) == (True, True)


@pytest.mark.parametrize(
    ("mode", "types"), [("int8", "float32 float32"), ("int8_only", "int8 int8"), ("int16x8_only", "int16 int16")]
)
def test_types_of_inputs_and_outputs_follow_the_mode(mode: str, types: str, tmp_path: Path) -> None:
    text = f"model: net\nmode: {mode}\ncalibration: {{dataset: {{npz: data.npz}}}}\n"
    (variant,) = load(written(tmp_path, text)).variants
    assert f"{variant.inference_input_type} {variant.inference_output_type}" == types


def everything() -> Recipe:
    return load(RECIPES / "good/everything.yaml")


def test_only_keeps_the_order_of_the_recipe() -> None:
    assert [variant.name for variant in only(everything(), ["edge", "small"]).variants] == ["small", "edge"]
    assert only(everything(), []) == everything()


def test_only_refuses_a_name_that_there_is_not() -> None:
    with pytest.raises(
        RecipeError, match=r"--only egde: .* \(did you mean 'edge'\?\); the variants are float32, small, "
    ):
        only(everything(), ["egde"])


REAL = "{dataset: {npz: data.npz}}"
RANDOM_ROWS = "{random: {}}"
RANDOM = f"{{dataset: {RANDOM_ROWS}}}"
OTHER = "{dataset: {npz: other.npz}}"
TRAINING = "techniques: [quantize], label: y"


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ("mode: float32", ["measured on random numbers"]),
        (f"mode: float32\nevaluation: {REAL}", []),
        (f"mode: int8\ncalibration: {RANDOM}\nevaluation: {REAL}", ["calibrated on random numbers"]),
        (f"mode: int8\ncalibration: {REAL}", ["there is no evaluation"]),
        (f"mode: float32\ncalibration: {REAL}\nevaluation: {{dataset: {{npz: b}}}}", ["no variant uses it"]),
        (f"mode: int8\ncalibration: {REAL}\nevaluation: {REAL}", ["use the same dataset"]),
        (
            f"mode: int8\ncalibration: {RANDOM}",
            ["measured on random numbers", "calibrated on random", "there is no evaluation"],
        ),
        (
            f"mode: int8\ncalibration: {REAL}\nevaluation: {OTHER}\ntraining: {{{TRAINING}, dataset: {RANDOM_ROWS}}}",
            ["no variant uses the trained model", "trained on random numbers"],
        ),
        (
            "variants: [{mode: int8, trained: true}]\ntraining: {techniques: [quantize, prune], label: y, "
            f"dataset: {RANDOM_ROWS}}}\ncalibration: {REAL}\nevaluation: {OTHER}",
            ["no variant has the mode qat_int8", "trained on random numbers"],
        ),
        (
            f"mode: qat_int8\nevaluation: {OTHER}\n"
            f"training: {{{TRAINING}, dataset: {{npz: other.npz}}, validation: {OTHER}}}",
            ["training and evaluation use the same dataset", "training.validation and evaluation use the same"],
        ),
    ],
)
def test_warnings(sections: str, words: list[str], tmp_path: Path) -> None:
    said = list(warnings(load(written(tmp_path, f"model: net\n{sections}\n"))))
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True))


SCHEMA: dict[str, Any] = json.loads(json_schema())
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}


def complaints(value: Any, schema: dict[str, Any], seen: set[str], here: str = "") -> Iterator[str]:
    """What an editor would underline, by the parts of JSON Schema that are in use; `seen` gathers the keys met."""
    if "$ref" in schema:
        here = schema["$ref"].split("/")[-1]
        yield from complaints(value, SCHEMA["$defs"][here], seen, here)
        return
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            fits = [set[str]() for _ in schema[choice]]
            found = [list(complaints(value, one, fit, here)) for one, fit in zip(schema[choice], fits, strict=True)]
            seen.update(*(fit for fit, faults in zip(fits, found, strict=True) if not faults))
            if found.count([]) == 0 or (choice == "oneOf" and found.count([]) > 1):
                yield f"{here}: {value!r} fits {found.count([])} of {choice}: {found}"
    yield from _complaints_of_type(value, schema, here)
    if isinstance(value, list) and len(value) > schema.get("maxItems", len(value)):
        yield f"{here}: {value!r} has more than {schema['maxItems']} items"
    for inner in value if isinstance(value, list) else []:
        yield from complaints(inner, schema.get("items", {}), seen, here)
    if isinstance(value, dict):
        yield from _complaints_of_keys(value, schema, seen, here)


def _complaints_of_keys(value: dict[str, Any], schema: dict[str, Any], seen: set[str], here: str) -> Iterator[str]:
    keys, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for key, inner in value.items():
        if key in keys:
            seen.add(f"{here}.{key}")
            yield from complaints(inner, keys[key], seen, here)
        elif others is False:
            yield f"{here}.{key} is unknown"
        else:
            yield from complaints(inner, others, seen, here)
    yield from (f"{here}.{key} is missing" for key in schema.get("required", []) if key not in value)


def _complaints_of_type(value: Any, schema: dict[str, Any], here: str) -> Iterator[str]:
    kind = schema.get("type")
    if kind == "null" and value is not None:
        yield f"{here}: {value!r} is not null"
    if kind in TYPES and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{here}: {value!r} is no {kind}"
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{here}: {value!r} is not among {schema.get('enum', schema.get('const'))}"


def data(path: Path) -> Any:
    source: YamlSource = parse(path.read_text(encoding="utf-8"), path.name)
    return source.data


@every_good
def test_schema_accepts_every_good_recipe(path: Path) -> None:
    assert not list(complaints(data(path), SCHEMA, set()))


@pytest.mark.parametrize(
    "name",
    [
        "unknown-key",
        "unknown-key-of-variant",
        "unknown-key-of-dataset",
        "unknown-key-of-tfrecord-feature",
        "text-for-integer",
        "bool-for-integer",
        "list-for-mapping",
        "text-for-list",
        "mode-unknown",
        "mode-of-variant-unknown",
        "mode-of-variant-missing",
        "int8-inputs-of-float32",
        "uint8-inputs-of-int16x8",
        "type-of-inputs-misspelled",
        "dataset-of-no-kind",
        "dataset-of-two-kinds",
        "metric-unknown",
        "model-missing",
        "model-of-two-kinds",
        "latency-misspelled-off",
        "calibration-without-dataset",
        "ignored-by-float-modes",
        "ignored-by-qat-modes",
    ],
)
def test_schema_refuses_what_can_be_seen_key_by_key(name: str) -> None:
    assert list(complaints(data(RECIPES / f"bad/{name}.yaml"), SCHEMA, set()))


VALUES: list[tuple[str, object]] = [
    *((key, value) for key in ("per_channel", "per_channel_dense", "trained") for value in (True, False)),
    *((key, value) for key in ("bias_correction", "rounding", "equalization") for value in ("auto", "on", "off")),
    *(("headroom", value) for value in ("auto", "expected", 1, 1.0, 1.5)),
    *(("keep_float", value) for value in ([], ["SOFTMAX"])),
    *(("keep_int16", value) for value in ([], ["SOFTMAX"])),
    *(("sparse", value) for value in ("on", "off")),
    *(("inference_input_type", value) for value in ("float32", "int8", "uint8", "int16")),
]
SECTIONS = {
    "calibration": {"dataset": {"npz": "data.npz"}},
    "training": {"dataset": {"npz": "data.npz"}, "label": "y", "techniques": ["prune", "quantize"]},
}


@pytest.mark.parametrize("mode", [str(kind.model_fields["mode"].default) for kind in MODES])
def test_editors_and_tflq_refuse_the_same_values_of_options(mode: str, tmp_path: Path) -> None:
    """Every option of every mode: no value is refused by only one of the two."""
    for key, value in VALUES:
        recipe = {"model": "net", **SECTIONS, "variants": [{"mode": mode, "name": "one", key: value}]}
        by_editors = list(complaints(recipe, SCHEMA, set()))
        assert bool(by_editors) == is_refused(written(tmp_path, json.dumps(recipe))), (key, value, by_editors)


def is_refused(path: Path) -> bool:
    try:
        load(path)
    except RecipeError:
        return True
    return False


@pytest.mark.parametrize("mode", ["float32", "float16", "dynamic"])
def test_headroom_of_one_asks_for_nothing(mode: str, tmp_path: Path) -> None:
    assert load(written(tmp_path, f"model: net\nvariants: [{{mode: {mode}, headroom: 1}}]\n")).variants


def test_good_recipes_have_every_key() -> None:
    seen: set[str] = set()
    for path in GOOD:
        assert not list(complaints(data(path), SCHEMA, seen))
    sections = {"": SCHEMA, **SCHEMA["$defs"]}
    keys = {(name, key) for name, section in sections.items() for key in section.get("properties", {})}
    modes = {name for name, key in keys if key == "inference_input_type"}
    unseen = {key if name in modes else f"{name}.{key}" for name, key in keys if f"{name}.{key}" not in seen}
    of_any_mode = {key for mode in modes for key in sections[mode]["properties"] if f"{mode}.{key}" in seen}
    assert unseen == of_any_mode & unseen


def test_schema_describes_every_key() -> None:
    sections = [SCHEMA, *SCHEMA["$defs"].values()]
    obvious = {"mode", "offset", "std", "threads", "seed", "method"}
    keys = {(section["title"], key): field for section in sections for key, field in section["properties"].items()}
    assert not {name for name, field in keys.items() if "description" not in field and name[1] not in obvious}


def test_an_error_of_a_run_has_the_place_of_its_key(tmp_path: Path) -> None:
    recipe = written(tmp_path, "model: net\ninputs:\n  image: {scale: 2}\n  image-2: {scale: 3}\nmode: float32\n")
    assert place_of(RecipeError("inputs.image-2: the model has no such input"), recipe) == f"{recipe}:4"
    assert place_of(RecipeError("inputs.image.shape is needed"), recipe) == f"{recipe}:3"
    assert place_of(SourceError("net: there is no such folder"), recipe) == f"{recipe}:1"
    assert place_of(RecipeError("inputs.x: no"), recipe, ["inputs.x.scale=1"]) == "--set inputs.x.scale=1"
    text = """\
model: net
calibration: {dataset: {npz: data.npz}}
evaluation:
  dataset: {images: photos}
  metric: {python: own:score}
converter: {rounding: gptq}
variants:
- int8
- mode: int8
  name: second
  keep_float: [nothing]
"""
    recipe = written(tmp_path, text)
    no_op = RecipeError("keep_float: 'nothing' names no op")
    assert place_of(no_op, recipe, variant="second") == f"{recipe}:11"
    assert place_of(no_op, recipe, variant="int8") == place_of(no_op, recipe) == ""
    assert place_of(no_op, recipe, ["variants.1.keep_float=[x]"], "second") == "--set variants.1.keep_float=[x]"
    assert place_of(RecipeError("rounding: no"), recipe, variant="int8") == f"{recipe}:6"
    assert place_of(RecipeError("metric own:score: cannot be imported"), recipe, variant="int8") == f"{recipe}:5"
    assert place_of(DatasetError(f"{tmp_path}/data.npz: row 3: is cut short"), recipe) == f"{recipe}:2"
    assert place_of(DatasetError(f"{tmp_path}/photos/1.png: is broken"), recipe, variant="int8") == f"{recipe}:4"
    assert place_of(RecipeError("something else"), recipe) == place_of(RecipeError(""), Path("-")) == ""
