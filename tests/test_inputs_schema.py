from __future__ import annotations

from pathlib import Path

import pytest

from tflq import strict
from tflq.errors import RecipeError
from tflq.inputs.schema import Input, Resize
from tflq.strict import Strict


class Inputs(Strict):
    inputs: dict[str, Input]


def read(text: str) -> Input:
    lines = f"inputs:\n  x:\n    {text}" if text else "inputs: {x: {}}"
    return strict.validate(strict.parse(lines, "recipe.yaml"), Inputs, Path()).inputs["x"]


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("", Input(channels="rgb", layout="nhwc", crop="none")),
        ("column: image", Input(column="image")),
        ("resize: [224, 192]", Input(resize=(224, 192))),
        (
            "resize: {size: [224, 192], method: bicubic}",
            Input(resize=Resize(size=(224, 192), method="bicubic", antialias=True)),
        ),
        ("{resize: [4, 4], crop: center}", Input(resize=(4, 4), crop="center")),
        ("{scale: 2, offset: -1.5}", Input(scale=2.0, offset=-1.5)),
        ("{mean: [1, 2.5, 3], std: 58}", Input(mean=(1.0, 2.5, 3.0), std=58.0)),
        ("{channels: grayscale, scale: [2]}", Input(channels="grayscale", scale=(2.0,))),
        ("shape: [null, 16, 16, 3]", Input(shape=(None, 16, 16, 3))),
        (
            "{shape: [1, 3, 16, 8], layout: nchw, resize: [16, 8]}",
            Input(shape=(1, 3, 16, 8), layout="nchw", resize=(16, 8)),
        ),
    ],
)
def test_keys(text: str, given: Input) -> None:
    assert read(text) == given
    dumped = strict.YamlSource("dump", {"inputs": {"x": given.model_dump(mode="json", exclude_none=True)}})
    if given.shape is None or None not in given.shape:
        assert strict.validate(dumped, Inputs, Path()).inputs["x"] == given


@pytest.mark.parametrize(
    ("given", "resizing"),
    [
        (Input(), None),
        (Input(resize=(4, 6)), Resize(size=(4, 6), method="bilinear", antialias=True)),
        (Input(resize=Resize(size=(4, 6), method="nearest")), Resize(size=(4, 6), method="nearest")),
    ],
)
def test_size(given: Input, resizing: Resize | None) -> None:
    assert given.resizing == resizing
    assert given.size == (resizing.size if resizing else None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("resize: 224", "x.resize: should be [height, width]"),
        ("resize: [224]", "x.resize: should be [height, width]"),
        ("resize: [0, 4]", "x.resize.0: should be above 0, not 0"),
        ("resize: {size: [2, 4, 3]}", "x.resize.size: should be [height, width]"),
        ("resize: {method: nearest}", "x.resize.size: this key is missing"),
        (
            "resize: {size: [2, 4], method: bilinaer}",
            "x.resize.method: 'bilinaer' is not one of nearest, bilinear, bicubic (did you mean 'bilinear'?)",
        ),
        (
            "resize: {size: [2, 4], method: bicubic, antialias: false}",
            "x.resize: bicubic needs antialias: remove antialias: false, or use bilinear",
        ),
        ("crop: center", "x: crop: center needs resize, the size to crop to"),
        ("{scale: 2, mean: 3}", "x: give scale and offset, or mean and std, not both"),
        ("{offset: 2, std: 3}", "x: give scale and offset, or mean and std, not both"),
        ("{scale: [1, 2, 3], offset: [1, 2]}", "x: the lists of numbers per channel differ in length"),
        (
            "{channels: grayscale, mean: [1, 2, 3]}",
            "x: channels: grayscale gives one channel: give one number, not a list of several",
        ),
        ("scale: 0", "x.scale: must not be 0"),
        ("std: [1, 0, 2]", "x.std: must not be 0"),
        ("scale: .inf", "x.scale: should be a finite number, not inf"),
        ("scale: big", "x.scale: should be a number, not 'big'"),
        ("mean: [1, big]", "x.mean.1: should be a number, not 'big'"),
        ("layout: hwc", "x.layout: 'hwc' is not one of nhwc, nchw (did you mean 'nhwc'?)"),
        ("colum: a", "x.colum: unknown key (did you mean 'column'?)"),
        ("shape: [1, null, 3]", "x: shape: only the batch, which comes first, may be null"),
        (
            "{shape: [1, 16, 16, 3], resize: [16, 8]}",
            "x: resize gives [16, 8], but shape is [1, 16, 16, 3]",
        ),
        (
            "{shape: [1, 16, 8, 3], resize: [16, 8], layout: nchw}",
            "x: resize gives [16, 8], but shape is [1, 16, 8, 3]",
        ),
        (
            "{crop: center, scale: 1, std: 2}",
            "x: give scale and offset, or mean and std, not both; crop: center needs resize, the size to crop to",
        ),
    ],
)
def test_faults_are_told_by_line(text: str, fault: str) -> None:
    with pytest.raises(RecipeError) as error:
        read(text)
    line = 2 if fault.startswith("x: ") else 3
    assert str(error.value) == f"recipe.yaml:{line}: inputs.{fault}"
