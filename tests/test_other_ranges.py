"""An int8 file with other ranges is the file that the quantizer makes with these ranges, or there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from running import Recipes

from tflq import conversion
from tflq.calibrate.observe import activations
from tflq.calibrate.ranges import FIXED, Range, _unify
from tflq.flatbuffer import ROLES, Graph, load, read
from tflq.modes import Int8, Int8Only, Mode
from tflq.refine.other_ranges import with_other_ranges

MODELS = (
    *("tiny_conv", "tiny_conv_layers", "tiny_conv_residual", "tiny_conv_functions", "tiny_conv_dense"),
    *("tiny_conv_heads", "two_outputs", "tiny_dense", "embedding", "attention.keras", "with_sin", "two_inputs"),
)
MADE = {
    *("tiny_conv", "tiny_conv_layers", "tiny_conv_dense", "tiny_dense"),
    *("two_outputs", "two_inputs", "attention.keras"),
}
"""Models for which no quantizer has to be called again."""


def ranges_of(graph: Graph, seed: int) -> tuple[Range, ...]:
    """Ranges as a method that clips would choose them: of any width, and equal where one scale is needed."""
    (subgraph, *_), random = graph.subgraphs, np.random.default_rng(seed)
    fixed = {index for op in subgraph.operators if op.type in FIXED for index in op.outputs}
    found = {}
    for index in activations(graph):
        high = random.uniform(0.5, 6)
        low = -high * random.choice([0.0, 1.0, random.uniform(0.1, 1.5)])
        found[index] = Range(0, index, subgraph.tensors[index].name, low, high, low, high, index in fixed)
    return tuple(_unify(subgraph, found).values())


def quantized(float32: Path, ranges: Sequence[Range], variant: Mode, folder: Path) -> bytes:
    conversion.quantize_to_compare(float32, ranges, variant, folder / "quantized.tflite")
    return (folder / "quantized.tflite").read_bytes()


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def float32(model: str, recipes: Recipes) -> Path:
    return recipes.run(model, ["float32"], calibration=None).file("float32")


@pytest.mark.parametrize("variant", [Int8Only(), Int8(), Int8(per_channel=False)], ids=["strict", "int8", "tensor"])
def test_it_is_the_file_of_the_quantizer(model: str, float32: Path, variant: Mode, tmp_path: Path) -> None:
    before, after = (ranges_of(load(float32), seed) for seed in (1, 2))
    old, new = (quantized(float32, ranges, variant, tmp_path) for ranges in (before, after))
    made = with_other_ranges(old, float32.read_bytes(), before, after)
    assert (made is not None) == (model in MADE)
    if made is not None:
        assert_same_file(made, new)


def test_a_layer_whose_input_and_output_have_one_scale_gets_two(recipes: Recipes, tmp_path: Path) -> None:
    """In a network with ReLU6, most activations have one range."""
    float32 = recipes.run("tiny_conv_layers", ["float32"], calibration=None).file("float32")
    (subgraph, *_), after = load(float32).subgraphs, ranges_of(load(float32), 2)
    layers = [op for op in subgraph.operators if op.type in ROLES]
    between = {index for op in layers for index in op.outputs} & {index for op in layers for index in op.inputs}
    assert any(between >= {op.inputs[0], *op.outputs} for op in layers)
    before = tuple(replace(each, minimum=0.0, maximum=6.0) if each.tensor in between else each for each in after)
    old, new = (quantized(float32, ranges, Int8Only(), tmp_path) for ranges in (before, after))
    made = with_other_ranges(old, float32.read_bytes(), before, after)
    assert made is not None
    assert_same_file(made, new)


def assert_same_file(made: bytes, new: bytes) -> None:
    """Assert that both files have the same constants and scales, but for float rounding."""
    pairs = zip(read(made).subgraphs[0].tensors, read(new).subgraphs[0].tensors, strict=True)
    for tensor, expected in pairs:
        assert (tensor.name, tensor.dtype, tensor.shape) == (expected.name, expected.dtype, expected.shape)
        assert (tensor.quantization is None) == (expected.quantization is None)
        if tensor.quantization and expected.quantization:
            assert tensor.quantization.zero_points == expected.quantization.zero_points
            np.testing.assert_allclose(tensor.quantization.scales, expected.quantization.scales, rtol=1e-6)
        if tensor.is_constant:
            tolerance = int(tensor.dtype == "int32")  # of a bias, which may be half a step from both
            np.testing.assert_allclose(np.asarray(tensor.data, float), np.asarray(expected.data, float), atol=tolerance)


def test_a_file_of_other_ranges_than_those_before_is_none(recipes: Recipes, tmp_path: Path) -> None:
    float32 = recipes.run("tiny_conv", ["float32"], calibration=None).file("float32")
    before, after = (ranges_of(load(float32), seed) for seed in (1, 2))
    old = quantized(float32, before, Int8Only(), tmp_path)
    assert with_other_ranges(old, float32.read_bytes(), after, before) is None


def test_two_scales_for_an_op_that_needs_one_are_none(recipes: Recipes, tmp_path: Path) -> None:
    """The quantizer would add a conversion before the RESHAPE."""
    float32 = recipes.run("tiny_conv_dense", ["float32"], calibration=None).file("float32")
    before = ranges_of(load(float32), 1)
    old = quantized(float32, before, Int8(), tmp_path)
    after = tuple(replace(each, maximum=each.maximum * (1 + place)) for place, each in enumerate(before))
    assert with_other_ranges(old, float32.read_bytes(), before, after) is None


def test_biases_for_which_the_quantizer_changes_the_weights_are_none(recipes: Recipes, tmp_path: Path) -> None:
    float32 = recipes.run("tiny_conv_layers", ["float32"], calibration=None).file("float32")
    before = ranges_of(load(float32), 1)
    old = quantized(float32, before, Int8(), tmp_path)
    after = tuple(replace(each, minimum=each.minimum * 1e-9, maximum=each.maximum * 1e-9) for each in before)
    assert with_other_ranges(old, float32.read_bytes(), before, after) is None
