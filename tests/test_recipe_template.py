from __future__ import annotations

import shutil
from pathlib import Path

import models_tflite as exported
import pytest

from tflq.datasets import DATASETS, TensorSpec
from tflq.errors import SourceError
from tflq.inputs.schema import Input
from tflq.metrics.metric_list import METRIC_NAMES
from tflq.modes import MODE_NAMES, QAT_MODES
from tflq.pipeline import Settings
from tflq.recipe import Recipe, load
from tflq.recipe_template import recipe_for
from tflq.sources.shapes import fix_shapes
from tflq.worker import preload_tensorflow

DATA = Path(__file__).parent / "data"


def started(model: Path, folder: Path) -> tuple[str, Recipe]:
    """The text for the model, and what is read from it."""
    preload_tensorflow()
    text = recipe_for(model, folder, Settings())
    (folder / "net.yaml").write_text(text)
    return text, load(folder / "net.yaml")


def taken(text: str, folder: Path) -> dict[str, Input]:
    """The inputs, with all that is proposed for them in comments."""
    (folder / "taken.yaml").write_text(text.replace("    # ", "    "))
    return load(folder / "taken.yaml").inputs


def test_it_names_the_model_as_seen_from_its_folder(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "tiny_conv", tmp_path / "nets/one # two")
    text, recipe = started(tmp_path / "nets/one # two", tmp_path)
    assert "  saved_model: 'nets/one # two'\n" in text
    assert recipe.model.path == tmp_path / "nets/one # two"


def test_pictures_are_resized_to_what_the_model_takes(models: Path, tmp_path: Path) -> None:
    text, recipe = started(models / "tiny_conv", tmp_path)
    assert "  image:  # float32 [?, 8, 8, 3]\n" in text
    assert recipe.inputs["image"].size is None
    assert taken(text, tmp_path)["image"].size == (8, 8)


@pytest.mark.parametrize("batch_size", [1, "dynamic"])
def test_open_sizes_get_a_shape_that_leaves_the_batch_to_batch_size(
    models: Path, tmp_path: Path, batch_size: int | str
) -> None:
    text, recipe = started(models / "dynamic_size", tmp_path)
    specs = [TensorSpec("image", "float32", (None, None, None, 3))]
    (spec,) = fix_shapes(specs, batch_size, taken(text, tmp_path))  # type: ignore[arg-type]
    assert spec.shape == (None if batch_size == "dynamic" else 1, 224, 224, 3)
    assert recipe.model.batch_size == 1


def test_only_floats_of_pictures_have_it_all(models: Path, tmp_path: Path) -> None:
    text, _ = started(models / "embedding", tmp_path)
    assert "  ids:  # int32 [?, 5]\n    column: ids  # column of the dataset\n# Kinds of dataset:" in text


def test_names_are_quoted_where_yaml_would_take_them_otherwise(models: Path, tmp_path: Path) -> None:
    _, recipe = started(models / "odd_names", tmp_path)
    assert list(recipe.inputs) == ["image/encoded:0", "x-1"]


def test_keras_file_has_no_signature_to_choose(models: Path, tmp_path: Path) -> None:
    text, recipe = started(models / "keras3.keras", tmp_path)
    assert "signature" not in text.replace("the signature", "").replace("model's signature", "")
    assert recipe.model.path == models / "keras3.keras"


def test_no_model_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no such folder"):
        recipe_for(tmp_path / "nothing", tmp_path, Settings())


@pytest.mark.parametrize(("name", "shown"), [("a\nb.tflite", r"a\\nb"), ("a\udcff.tflite", r"a\\udcff")])
def test_a_name_that_a_recipe_cannot_have_is_refused(tmp_path: Path, name: str, shown: str) -> None:
    shutil.copy(DATA / "loop_float32.tflite", tmp_path / name)
    with pytest.raises(SourceError, match=rf"^{shown}\.tflite: a recipe cannot have this path: rename the file"):
        recipe_for(tmp_path / name, tmp_path, Settings())


def test_it_offers_every_mode_kind_of_dataset_and_metric(models: Path, tmp_path: Path) -> None:
    text, recipe = started(models / "tiny_conv", tmp_path)
    offered = [mode for mode in MODE_NAMES if mode not in (*QAT_MODES, "dynamic4")]
    assert [variant.mode for variant in recipe.variants] == offered
    assert "# dynamic4 is left out: " in text
    assert all(f"#   {kind.EXAMPLE}\n" in text for kind in DATASETS if kind.EXAMPLE)
    assert all(name in text.partition("# metric: ")[2] for name in METRIC_NAMES)


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("small_weights", {"dynamic": "it changes only weights of 1,024 elements or more, and the largest has 64"}),
        (
            "sin_of_input",
            {
                "dynamic": "it changes only weights of 1,024 elements or more, and the largest has 0",
                "float16": "it changes only weights, and the model has none",
            },
        ),
    ],
)
def test_it_leaves_out_modes_that_would_do_nothing(
    models: Path, tmp_path: Path, model: str, reasons: dict[str, str]
) -> None:
    text, recipe = started(models / model, tmp_path)
    assert not {variant.mode for variant in recipe.variants} & {*reasons}
    assert {variant.mode for variant in recipe.variants} > {"float32", "int8"}
    assert all(f"# {mode} is left out: {reason}\n" in text for mode, reason in reasons.items())


def test_it_leaves_out_modes_that_the_ops_refuse(models: Path, tmp_path: Path) -> None:
    text, recipe = started(models / "with_sin", tmp_path)
    assert not {variant.mode for variant in recipe.variants} & {"int8_only", "int16x8_only"}
    reason = "SIN has no int8 version; {mode: int8_only, keep_float: [SIN]} leaves it in float"
    assert f"# int8_only is left out: {reason}\n" in text


def test_it_says_why_a_model_cannot_be_converted(models: Path, tmp_path: Path) -> None:
    text, _ = started(models / "with_cumprod", tmp_path)
    (_, _, reason) = text.partition("# This recipe fails, because the model cannot be converted as it is: ")
    assert "select_tf_ops: true" in reason.replace("\n# ", " ")
    assert max(map(len, text.splitlines())) <= 120


def test_a_tflite_file_with_channels_first(tmp_path: Path) -> None:
    exported.made(tmp_path / "net.tflite", exported.from_torch)
    text, recipe = started(tmp_path / "net.tflite", tmp_path)
    assert "model:\n  tflite: net.tflite\n  batch_size: 1\ninputs:\n  args_0:  # float32 [1, 3, 8, 8]\n" in text
    assert recipe.inputs["args_0"].layout == "nhwc"
    proposed = taken(text, tmp_path)["args_0"]
    assert (proposed.layout, proposed.size) == ("nchw", (8, 8))


def test_a_tflite_file_with_two_signatures(tmp_path: Path) -> None:
    exported.made(tmp_path / "net.tflite", exported.with_two_signatures)
    text, recipe = started(tmp_path / "net.tflite", tmp_path)
    assert "  signature: serving_default  # the model has: serving_default, embed\n" in text
    assert recipe.model.signature == "serving_default"
