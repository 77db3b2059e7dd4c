"""Comparisons with a constant in integer files find the values that are equal to it, such as padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from benchmarks.one_op_models import OneOp, model_of
from tflq.conversion import tf_internal
from tflq.flatbuffer import Graph, edit, read
from tflq.interpreter import Runner
from tflq.modes import Int8, Int16x8, Mode
from tflq.worker import preload_tensorflow

SHAPE = (1, 3)
RANGE = -3.1, 4.2
"""No step of a scale of this range is -1 or 0.7."""
IN_INT8 = Int8(inference_input_type="int8")


def comparison(type_: str, *operands: float | None) -> Any:
    """Return a float model that compares its input with a constant or with a second input. None stands for inputs."""
    inputs = [SHAPE if each is None else np.float32(each)[np.newaxis] for each in operands]
    options = type_.title().replace("_", "")
    model = model_of(OneOp(type_, inputs, [SHAPE], options=options, dtype="bool"), version=1)
    for place in model.subgraphs[0].inputs:
        edit.set_range(model, (0, place), *RANGE)
    return model


def quantized(model: Any, mode: Mode = IN_INT8) -> bytes:
    preload_tensorflow()
    return tf_internal.quantize_all(model, mode)


def answers(content: bytes, folder: Path, values: list[float]) -> list[bool]:
    path = folder / "file.tflite"
    path.write_bytes(content)
    x = np.resize(np.float32(values), SHAPE)
    (answer,) = Runner(path)({"x0": x}).values()
    return [bool(each) for each in answer[0, : len(values)]]


def operators(graph: Graph) -> list[tuple[str, str]]:
    """The type of each op with the dtype that it reads."""
    (main, *_) = graph.subgraphs
    return [(operator.type, main.tensors[operator.inputs[0]].dtype) for operator in main.operators]


@pytest.mark.parametrize("constant", [0.0, -1.0, 0.7])
@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("EQUAL", [False, True, False]),
        ("NOT_EQUAL", [True, False, True]),
        ("LESS", [True, False, False]),
        ("LESS_EQUAL", [True, True, False]),
        ("GREATER", [False, False, True]),
        ("GREATER_EQUAL", [False, True, True]),
    ],
)
def test_equal_values_are_equal_in_int8(type_: str, expected: list[bool], constant: float, tmp_path: Path) -> None:
    content = quantized(comparison(type_, None, constant))
    assert operators(read(content)) == [(type_, "int8")]
    assert answers(content, tmp_path, [constant - 0.1, constant, constant + 0.1]) == expected


@pytest.mark.parametrize("constant", [0.0, -1.0, 0.7])
@pytest.mark.parametrize(("type_", "expected"), [("EQUAL", [False, True, False]), ("NOT_EQUAL", [True, False, True])])
def test_equal_values_are_equal_in_int16(type_: str, expected: list[bool], constant: float, tmp_path: Path) -> None:
    model = comparison(type_, None, constant)
    (graph,) = model.subgraphs
    (operator,) = graph.operators
    operator.inputs[0] = edit.add_copy(graph, graph.inputs[0])
    edit.set_range(model, (0, operator.inputs[0]), *RANGE)
    shape = edit.add_constant(model, "shape", np.int32(SHAPE))
    ends = [graph.inputs[0], shape], operator.inputs[0]
    graph.operators.insert(0, edit.new_operator(model, "RESHAPE", *ends, schema.ReshapeOptionsT()))
    content = quantized(model, Int16x8())
    assert operators(read(content))[-1] == (type_, "int16")
    assert answers(content, tmp_path, [constant - 0.1, constant, constant + 0.1]) == expected


def test_the_constant_may_come_first(tmp_path: Path) -> None:
    content = quantized(comparison("LESS", -1.0, None))
    assert answers(content, tmp_path, [-1.1, -1.0, -0.9]) == [False, False, True]


def test_not_equal_of_two_activations_is_int8() -> None:
    assert operators(read(quantized(comparison("NOT_EQUAL", None, None)))) == [("NOT_EQUAL", "int8")]


def test_a_float_input_is_compared_exactly(tmp_path: Path) -> None:
    content = quantized(comparison("NOT_EQUAL", None, -1.0), Int8())
    assert operators(read(content)) == [("NOT_EQUAL", "float32")]
    assert answers(content, tmp_path, [-1.0, -1.001]) == [False, True]


def test_no_value_is_equal_to_a_constant_beyond_the_range(tmp_path: Path) -> None:
    content = quantized(comparison("NOT_EQUAL", None, 10.0))
    assert operators(read(content)) == [("DEQUANTIZE", "int8"), ("NOT_EQUAL", "float32")]
    content = quantized(comparison("EQUAL", None, 10.0))
    assert answers(content, tmp_path, [4.2, 3.0]) == [False, False]
