"""Inputs whose quantization the recipe gives, and the warning about inputs that calibration saw only in part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from running import Ran, Recipes, run_recipe

from tflq.firmware.input_scales import input_scale_violations
from tflq.firmware.io_row import IoRow
from tflq.inputs.checks import InputSummary
from tflq.inputs.quantization import InputQuantization, for_pixels
from tflq.inputs.schema import Input
from tflq.recipe import load
from tflq.recipe_warnings import warnings

PLAIN = {"bias_correction": "off", "rounding": "off", "equalization": "off", "headroom": 1}
UINT8 = IoRow("in", 0, "image", "uint8", (1, 8, 8, 3), 0.0028, 0, "", "", "")
SUMMARY = InputSummary("image", "float32", 3, 20, 0.0, 0.714, 0.3, 0.2, False)


def told(row: IoRow, config: Input, summary: InputSummary = SUMMARY) -> list[tuple[str, str]]:
    found = list(input_scale_violations([row], {"image": config}, [summary]))
    assert {each.rule for each in found} <= {"V16"}
    return [(each.severity, each.message) for each in found]


@pytest.mark.parametrize(
    ("dtype", "scaling", "expected"),
    [
        ("uint8", (1 / 255, 0.0), (1 / 255, 0)),
        ("int8", (1 / 255, 0.0), (1 / 255, -128)),
        ("int8", (1 / 127.5, -1.0), (1 / 127.5, -1)),
        ("uint8", (1 / 127.5, -1.0), (1 / 127.5, 127)),
        ("uint8", (1.0, 0.0), (1.0, 0)),
    ],
)
def test_pixels_are_fed_as_they_are(dtype: str, scaling: tuple[float, float], expected: tuple[float, int]) -> None:
    found = for_pixels(dtype, scaling)
    assert (found.scale, found.zero_point) == expected


@pytest.mark.parametrize(
    ("dtype", "scaling", "message"),
    [
        ("int16", (1.0, 0.0), "pixels need an input of uint8 or int8, not int16"),
        ("uint8", (1.0, 10.0), "pixels become 10 to 265, and 0 must be in that range"),
        ("uint8", (-1.0, 255.0), "pixels become 255 to 0, and 0 must be in that range"),
    ],
)
def test_pixels_that_cannot_be_fed(dtype: str, scaling: tuple[float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        for_pixels(dtype, scaling)


def test_limits_of_a_quantization() -> None:
    assert InputQuantization(scale=0.5, zero_point=-128).limits("int8") == (0.0, 127.5)
    assert InputQuantization(scale=0.5).limits("int16") == (-16383.5, 16383.5)
    with pytest.raises(ValueError, match="zero_point is 200, but int8 is from -128 to 127"):
        InputQuantization(scale=0.5, zero_point=200).limits("int8")
    with pytest.raises(ValueError, match="an int16 input has zero_point 0"):
        InputQuantization(scale=0.5, zero_point=1).limits("int16")


def test_dim_pictures_are_a_warning() -> None:
    message = (
        "covers 0 to 0.714 by its calibration, but pixels become 0 to 1: the rest is clipped, and raw pixels would be"
        " misread. Set inputs.image.quantization to pixels, or to a scale"
    )
    assert told(UINT8, Input(scale=1 / 255)) == [("warning", message)]
    ((severity, text),) = told(UINT8, Input(range=(0, 1)))
    assert (severity, "but inputs.image.range says 0 to 1" in text) == ("warning", True)


@pytest.mark.parametrize(
    "config",
    [
        Input(),
        Input(mean=20, std=3),
        Input(mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0)),
        Input(scale=0.7 / 255, resize=(8, 8)),
    ],
    ids=["plain", "temperatures", "by channel", "covered"],
)
def test_values_that_are_no_pixels_or_are_covered_are_no_warning(config: Input) -> None:
    assert told(UINT8, config) == []


def test_floats_and_wide_scales_are_no_warning() -> None:
    assert told(replace(UINT8, scale=1 / 255), Input(scale=1 / 255)) == []
    assert told(replace(UINT8, dtype="float32", scale=None, zero_point=None), Input(scale=1 / 255)) == []


def test_a_file_that_is_quantized_otherwise_is_broken() -> None:
    ((severity, text),) = told(UINT8, Input(quantization=InputQuantization(scale=1 / 255)))
    assert severity == "error"
    assert text.startswith("has scale 0.0028 and zero point 0, but inputs.image.quantization asks for scale 0.00392157")
    ((severity, text),) = told(replace(UINT8, dtype="int64", scale=None, zero_point=None), Input(quantization="pixels"))
    assert (severity, text.startswith("is int64 without a scale")) == ("error", True)


def test_a_recipe_whose_inputs_are_float_is_warned(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = "model: net\ninputs: {x: {quantization: pixels}}\ncalibration: {dataset: {npz: x.npz}}\nmode: "
    recipe.write_text(text + "int8\n")
    assert any("no variant has integer inputs" in warning for warning in warnings(load(recipe)))
    recipe.write_text(text + "int8_only\n")
    assert not any("no variant has integer inputs" in warning for warning in warnings(load(recipe)))


@pytest.fixture(scope="module")
def pinned(recipes: Recipes) -> Ran:
    variants = ["int8_only", {"mode": "int8_only", "inference_input_type": "uint8", "name": "bytes"}, "int16x8_only"]
    inputs = {"image": {"quantization": {"scale": "1/16"}}}
    return run_recipe(recipes.write("tiny_conv", variants, inputs=inputs, converter=PLAIN))


def test_the_files_have_the_scale_of_the_recipe(pinned: Ran) -> None:
    for variant in pinned.result.variants:
        assert variant.file is not None
        row = variant.file.io[0]
        assert (row.scale, row.zero_point) == (1 / 16, 0)
    found = {(variant.name, each.message) for variant in pinned.result.variants for each in variant.violations}
    ((name, message),) = [(name, message) for name, message in found if "inputs.image.quantization" in message]
    assert name == "bytes"
    assert message.startswith("covers 0 to 15.94 by inputs.image.quantization, but calibration samples are -")


def test_the_resolved_recipe_runs_again(pinned: Ran) -> None:
    loaded = load(pinned.output / "recipe.yaml")
    assert loaded.inputs["image"].quantization == InputQuantization(scale=1 / 16)
