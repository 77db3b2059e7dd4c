"""Ops that a quantizer does not know are integers in another form, with equal outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from benchmarks.one_op_models import OneOp, model_of
from tflq.conversion import tf_internal
from tflq.flatbuffer import edit, float_operators, read
from tflq.interpreter import Runner
from tflq.layerwise import align
from tflq.modes import Int8, Int16x8, Mode
from tflq.refine.operator_pairs import operator_pairs
from tflq.worker import preload_tensorflow

SHAPE = (1, 3, 4)
X = np.linspace(-3, 4, 12, dtype=np.float32).reshape(SHAPE)
MODES = [Int8(), Int16x8(), Int16x8(inference_input_type="int16")]


def answer(model: Any, mode: Mode, folder: Path, **inputs: np.ndarray) -> np.ndarray:
    """Return the output of the quantized model, of which no op is in float."""
    preload_tensorflow()
    content = tf_internal.quantize_all(model, mode)
    assert not [operator.type for _, operator in float_operators(read(content))]
    path = folder / "file.tflite"
    path.write_bytes(content)
    (output,) = Runner(path)(inputs).values()
    return output


def with_ranges(op: OneOp, *ranges: tuple[float, float]) -> Any:
    """Return the model of that op with the ranges of its inputs, then of its output."""
    model = model_of(op, version=1)
    (graph,) = model.subgraphs
    for index, (low, high) in zip([*graph.inputs, *graph.outputs], ranges, strict=True):
        edit.set_range(model, (0, index), low, high)
    return model


@pytest.mark.parametrize("mode", MODES[1:], ids=["float32", "int16"])
@pytest.mark.parametrize("type_", ["SELECT", "SELECT_V2"])
def test_what_a_selection_selects_has_the_scale_of_its_output(type_: str, mode: Mode, tmp_path: Path) -> None:
    condition = np.arange(12).reshape(SHAPE) % 2 == 0
    op = OneOp(type_, [condition, SHAPE, SHAPE], [SHAPE], options=type_.title().replace("_", ""))
    model = with_ranges(op, (-3, 4), (-0.5, 0.5), (-3, 4))
    second = np.full(SHAPE, 0.25, np.float32)
    np.testing.assert_allclose(
        answer(model, mode, tmp_path, x0=X, x1=second), np.where(condition, X, second), rtol=0, atol=2e-4
    )


@pytest.mark.parametrize("mode", MODES[1:], ids=["float32", "int16"])
def test_a_selection_takes_a_constant_and_repeats_it(mode: Mode, tmp_path: Path) -> None:
    condition = np.array([[[True], [False], [True]]])
    model = with_ranges(OneOp("SELECT_V2", [condition, SHAPE, np.float32([-2.5])], [SHAPE]), (-3, 4), (-3, 4))
    expected = np.where(condition, X, np.float32(-2.5))
    np.testing.assert_allclose(answer(model, mode, tmp_path, x0=X), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("mode", MODES, ids=["int8", "int16x8", "int16"])
def test_zeros_of_any_shape_are_integers(mode: Mode, tmp_path: Path) -> None:
    model = with_ranges(OneOp("ZEROS_LIKE", [SHAPE], [SHAPE]), (-3, 4), (0, 0))
    assert not np.any(answer(model, mode, tmp_path, x0=X))


@pytest.mark.parametrize("mode", MODES, ids=["int8", "int16x8", "int16"])
def test_negatives_are_integers(mode: Mode, tmp_path: Path) -> None:
    """LayerNormalization of Keras 3 adds a negative."""
    model = with_ranges(OneOp("NEG", [SHAPE], [SHAPE]), (-3, 4), (-4, 3))
    step = 7 / 255 if mode.activation_bits == 8 else 4 / 32767
    np.testing.assert_allclose(answer(model, mode, tmp_path, x0=X), -X, rtol=0, atol=step)


def test_negatives_correspond_to_those_of_the_float32_file() -> None:
    weights, bias = np.ones((2, 4), np.float32), np.float32([0.5, -0.25])
    model = with_ranges(OneOp("FULLY_CONNECTED", [(1, 4), weights, bias], [(1, 2)], "FullyConnected"), (-1, 1), (-1, 1))
    (graph,) = model.subgraphs
    negative = edit.add_tensor(model, "negative", [1, 2])
    graph.operators.append(edit.new_operator(model, "NEG", [graph.outputs[0]], negative, schema.NegOptionsT()))
    edit.set_outputs(model, {"negative": negative})
    edit.set_range(model, (0, negative), -1, 1)
    float32 = read(edit.pack(model))
    preload_tensorflow()
    quantized = read(tf_internal.quantize_all(model, Int8()))
    assert operator_pairs(float32.subgraphs[0], quantized.subgraphs[0]) is not None
    assert align(float32, quantized).constants


def test_the_bias_behind_zeros_stays(tmp_path: Path) -> None:
    """The 16-bit quantizer writes a scale of 0 for a constant of zeros, and for the bias of what reads it."""
    bias, weights = np.float32([0.5, -0.25]), np.ones((2, 4), np.float32)
    model = with_ranges(OneOp("FULLY_CONNECTED", [(1, 4), weights, bias], [(1, 2)], "FullyConnected"), (-1, 1), (-1, 1))
    (graph,) = model.subgraphs
    read_by_fill = [edit.add_constant(model, "shape", np.int32([1, 4]))]
    read_by_fill.append(edit.add_constant(model, "zero", np.float32(0), "FLOAT32"))
    graph.operators.insert(0, edit.new_operator(model, "FILL", read_by_fill, graph.inputs[0], schema.FillOptionsT()))
    graph.inputs, model.signatureDefs[0].inputs = [], []
    np.testing.assert_allclose(answer(model, Int16x8(), tmp_path), [bias], rtol=0, atol=1e-4)
