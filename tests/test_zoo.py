from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tflq.batch.schema import json_schema
from tflq.batch.zoo import Batch, Item, collect, select
from tflq.errors import RecipeError
from tflq.recipe import Recipe


class Folder:
    """A folder with models that nobody reads, and zoos."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def model(self, name: str) -> None:
        (self.path / name).mkdir(parents=True)
        (self.path / name / "saved_model.pb").touch()

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def zoo(self, text: str) -> Batch:
        return collect([self.write("zoo.yaml", f"kind: zoo\n{text}")])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    for name in ("models/small", "models/large", "models/odd"):
        made.model(name)
    made.write("models/README.md", "")
    made.write("models/.hidden/saved_model.pb", "")
    made.write("models/flat.keras", "")
    return made


def names(batch: Batch) -> list[str]:
    return [item.name for item in batch.items]


def sound(item: Item) -> Recipe:
    assert isinstance(item.recipe, Recipe), item.recipe
    return item.recipe


def faults(batch: Batch) -> list[str]:
    return [str(item.recipe) for item in batch.items if isinstance(item.recipe, RecipeError)]


def test_a_pattern_takes_folders_and_keras_files(folder: Folder) -> None:
    batch = folder.zoo("defaults: {mode: float16}\nmodels: ['models/*']\n")
    assert names(batch) == ["flat", "large", "odd", "small"]
    assert sound(batch.items[0]).model.path == folder.path / "models/flat.keras"
    assert sound(batch.items[1]).model.path == folder.path / "models/large"


def test_each_has_a_folder_of_its_name_in_the_zoos_output(folder: Folder) -> None:
    batch = folder.zoo("output: made\ndefaults: {mode: float16}\nmodels: [models/small, models/large]\n")
    assert [sound(item).output for item in batch.items] == [folder.path / "made/small", folder.path / "made/large"]
    assert batch.output == folder.path / "made"


def test_an_entry_overrides_the_defaults_and_leaves_them_to_others(folder: Folder) -> None:
    batch = folder.zoo(
        "defaults: {gates: {min_sqnr_db: 20, max_size_ratio: 0.5}, variants: [float16, dynamic]}\n"
        "models:\n- {model: models/small, gates: {min_sqnr_db: 10}, mode: float32}\n- models/large\n"
    )
    small, large = map(sound, batch.items)
    assert (small.gates.min_sqnr_db, small.gates.max_size_ratio) == (10, 0.5)
    assert (large.gates.min_sqnr_db, large.gates.max_size_ratio) == (20, 0.5)
    assert [[variant.mode for variant in one.variants] for one in (small, large)] == [
        ["float32"],
        ["float16", "dynamic"],
    ]


def test_what_is_named_plainly_is_left_out_of_patterns(folder: Folder) -> None:
    batch = folder.zoo("defaults: {mode: float16}\nmodels: ['models/*', {model: models/odd, name: special}]\n")
    assert names(batch) == ["flat", "large", "small", "special"]


def test_options_of_the_model_hold_for_all_that_the_pattern_matches(folder: Folder) -> None:
    batch = folder.zoo(
        "defaults: {mode: float16, model: {batch_size: dynamic}}\n"
        "models:\n- model: {saved_model: 'models/[ls]*', signature: other}\n- models/flat.keras\n"
    )
    assert names(batch) == ["large", "small", "flat"]
    assert [sound(item).model.signature for item in batch.items] == ["other", "other", "serving_default"]
    assert {sound(item).model.batch_size for item in batch.items} == {"dynamic"}


def test_a_recipe_of_a_zoo_is_laid_over_the_defaults(folder: Folder) -> None:
    folder.write("recipes/base.yaml", "calibration: {samples: 7}\n")
    folder.write("recipes/net.yaml", "extends: base.yaml\nmodel: ../models/small\ngates: {min_sqnr_db: 5}\n")
    batch = folder.zoo(
        "defaults: {mode: int8, calibration: {dataset: {npz: data.npz}}, gates: {min_sqnr_db: 20}}\n"
        "models:\n- recipe: 'recipes/n*.yaml'\n  latency: off\n"
    )
    (item,) = batch.items
    recipe = sound(item)
    assert recipe.model.path == folder.path / "models/small"
    assert (recipe.calibration.samples, recipe.calibration.dataset.npz) == (7, folder.path / "data.npz")
    assert (recipe.gates.min_sqnr_db, recipe.latency, recipe.output) == (5, "off", folder.path / "build/net")
    assert [path.name for path in item.files] == ["net.yaml", "base.yaml", "zoo.yaml"]


def test_a_zoo_extends_another(folder: Folder) -> None:
    folder.write("shared/zoo.yaml", "kind: zoo\noutput: made\ndefaults: {mode: float16, latency: off}\n")
    batch = folder.zoo("extends: shared/zoo.yaml\ndefaults: {mode: dynamic}\nmodels: [models/small]\n")
    recipe = sound(batch.items[0])
    assert ([variant.mode for variant in recipe.variants], recipe.latency) == (["dynamic"], "off")
    assert recipe.output == folder.path / "shared/made/small"


def test_one_wrong_model_does_not_keep_others_from_being_made(folder: Folder) -> None:
    batch = folder.zoo(
        "defaults: {mode: float16}\nmodels:\n- models/small\n- {model: models/large, gates: {max_sise_ratio: 1}}\n"
    )
    assert names(batch) == ["small", "large"]
    place = f"{folder.path}/zoo.yaml:5"
    assert faults(batch) == [f"{place}: gates.max_sise_ratio: unknown key (did you mean 'max_size_ratio'?)"]


def test_a_fault_of_the_defaults_is_that_of_each_model(folder: Folder) -> None:
    batch = folder.zoo("defaults:\n  mode: in8\nmodels: [models/small, models/large]\n")
    assert len(set(faults(batch))) == 1
    assert f"{folder.path}/zoo.yaml:3: mode: 'in8' is not one of" in faults(batch)[0]
    assert len(faults(batch)) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modles: [a]\n", ["1: models: this key is missing", "2: modles: unknown key (did you mean 'models'?)"]),
        ("models: []\n", ["2: models: should have at least 1 item"]),
        ("models: models/small\n", ["2: models: should be a list, not 'models/small'; put it in brackets"]),
        (
            "models:\n- 5\n",
            ["3: models.0: should be a path, a pattern, or a mapping with the key model or recipe, not 5"],
        ),
        ("models:\n- {name: x}\n", ["3: give either model or recipe, with a path or a pattern"]),
        ("models:\n- {model: a, recipe: b}\n", ["3: give either model or recipe"]),
        ("models:\n- nothing/*\n- recipe: none/*.yaml\n", ["3: nothing/*: no file", "4: recipe: none/*.yaml: no file"]),
        ("output: 5\nmodels: [a]\n", ["2: output: should be a path, not 5"]),
        ("models: [a]\nmodels: [b]\n", ["3: models: this key is given twice"]),
    ],
)
def test_a_wrong_zoo_is_refused_in_these_words(folder: Folder, text: str, words: list[str]) -> None:
    with pytest.raises(RecipeError) as error:
        folder.zoo(text)
    said = str(error.value).splitlines()
    assert len(said) == len(words)
    for line, wanted in zip(said, words, strict=True):
        assert line.startswith(f"{folder.path}/zoo.yaml:{wanted}")


def test_overrides_hold_for_each_model(folder: Folder) -> None:
    path = folder.write("zoo.yaml", "kind: zoo\ndefaults: {mode: float16}\nmodels: ['models/*']\n")
    batch = collect([path], ["latency.runs=3", "mode=dynamic"])
    assert {sound(item).latency.runs for item in batch.items} == {3}
    assert {sound(item).variants[0].mode for item in batch.items} == {"dynamic"}


def test_a_folder_holds_the_recipes_below_it(folder: Folder) -> None:
    folder.write("own/base.yaml", "mode: float16\n")
    folder.write("own/a/one.yaml", "extends: ../base.yaml\nmodel: net\n")
    folder.write("own/two.yml", "model: net\nmode: dynamic\n")
    folder.write("own/build/two/recipe.yaml", "model: net\nmode: dynamic\n")
    folder.write("own/build/two/report.json", "{}")
    folder.write("own/.git/three.yaml", "model: net\nmode: dynamic\n")
    batch = collect([folder.path / "own"])
    assert names(batch) == ["one", "two"]
    assert batch.output == folder.path / "own/build"


def test_what_others_extend_is_made_if_it_is_a_recipe_itself(folder: Folder) -> None:
    folder.write("own/net.yaml", "model: net\nmode: float16\n")
    folder.write("own/two.yaml", "extends: net.yaml\nmode: dynamic\n")
    assert names(collect([folder.path / "own"])) == ["net", "two"]


def test_what_is_not_yaml_does_not_keep_others_from_being_made(folder: Folder) -> None:
    good = folder.write("own/good.yaml", "model: net\nmode: float16\n")
    bad = folder.write("own/bad.yaml", "model: [net\n")
    folder.write("own/zoo.yaml", "kind: zoo\nmodel: net\n")
    for batch in (collect([good, bad]), collect([folder.path / "own"])):
        assert "good" in names(batch)
        assert "this is not YAML" in faults(batch)[0]
    assert "unknown key (did you mean 'models'?)" in faults(batch)[1]


def test_recipes_of_one_name_are_told_apart_by_their_folders(folder: Folder) -> None:
    paths = [folder.write(f"{name}/recipe.yaml", "model: net\nmode: float16\n") for name in ("a", "b")]
    batch = collect(paths)
    assert names(batch) == [str(folder.path / name / "build/recipe") for name in ("a", "b")]
    assert batch.output == folder.path


def test_two_that_write_into_one_folder(folder: Folder) -> None:
    batch = folder.zoo("defaults: {mode: float16}\nmodels: [models/small, {model: models/large, name: small}]\n")
    assert [isinstance(item.recipe, Recipe) for item in batch.items] == [True, False]
    output = folder.path / "build/small"
    assert (
        f"the output folder {output} of small is also that of {output}: give it another name or output"
        in faults(batch)[0]
    )
    assert len(set(names(batch))) == 2


def test_two_names_that_write_into_one_folder(folder: Folder) -> None:
    batch = folder.zoo("defaults: {mode: float16, output: same}\nmodels: [models/small, models/large]\n")
    output = folder.path / "same"
    (said,) = faults(batch)
    assert said.endswith(f"the output folder {output} of large is also that of small: give it another name or output")


def test_wrong_ones_of_one_name_have_rows_of_their_own(folder: Folder) -> None:
    batch = folder.zoo("defaults: {mode: in8}\nmodels: [models/small, {model: models/large, name: small}]\n")
    assert names(batch) == ["small", "small (2)"]


def test_a_folder_without_recipes(folder: Folder) -> None:
    with pytest.raises(RecipeError, match=r"models: no recipe was found$"):
        collect([folder.path / "models"])


@pytest.mark.parametrize(("patterns", "kept"), [([], 4), (["*l*"], 3), (["odd", "flat"], 2)])
def test_models_are_chosen_by_pattern(folder: Folder, patterns: list[str], kept: int) -> None:
    batch = folder.zoo("defaults: {mode: float16}\nmodels: ['models/*']\n")
    assert len(select(batch, patterns).items) == kept


def test_a_pattern_that_chooses_nothing_is_refused(folder: Folder) -> None:
    batch = folder.zoo("defaults: {mode: float16}\nmodels: ['models/*']\n")
    with pytest.raises(RecipeError, match=r"^--only smal: no model has this name \(did you mean 'small'\?\)$"):
        select(batch, ["smal"])


def test_what_is_dumped_of_a_zoos_recipe_runs_alone(folder: Folder) -> None:
    from tflq.recipe import dump, load

    batch = folder.zoo("defaults: {mode: int8, calibration: {dataset: {npz: data.npz}}}\nmodels: [models/small]\n")
    recipe = sound(batch.items[0])
    recipe.output.mkdir(parents=True)
    (recipe.output / "recipe.yaml").write_text(dump(recipe, recipe.output))
    assert load(recipe.output / "recipe.yaml") == recipe
    assert yaml.safe_load(dump(recipe, recipe.output))["calibration"]["dataset"] == {"npz": "../../data.npz"}


def test_the_schema_knows_the_keys_of_recipes_in_parts() -> None:
    schema = json.loads(json_schema())
    entry = schema["$defs"]["Entry"]["properties"]
    assert set(entry) - set(schema["$defs"]["Defaults"]["properties"]) == {"recipe"}
    assert {"calibration", "variants", "gates"} <= set(entry)
    assert "required" not in schema["$defs"]["Calibration"]
    named = set(re.findall(r"#/\$defs/(\w+)", json_schema()))
    assert named <= set(schema["$defs"])


def test_a_pattern_takes_tflite_files(folder: Folder) -> None:
    folder.write("exported/lite.tflite", "")
    folder.write("exported/notes.txt", "")
    (item,) = folder.zoo("defaults: {mode: float16}\nmodels: ['exported/*']\n").items
    assert (item.name, sound(item).model.path) == ("lite", folder.path / "exported/lite.tflite")
    assert sound(item).model.model_dump()["signature"] is None
