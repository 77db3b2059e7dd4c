from __future__ import annotations

import pytest
import tflite_edit as edit
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import OperatorKind, float_operators, operator_counts, read, size_by_dtype


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("cnn_int8", []),
        ("cnn_int16x8", []),
        ("cnn_float16", ["CONV_2D", "DEPTHWISE_CONV_2D", "CONCATENATION", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]),
        (
            "loop_float32",
            ["READ_VARIABLE", "MUL", "ADD", "ASSIGN_VARIABLE", "READ_VARIABLE", "ADD", "FULLY_CONNECTED", "ADD"],
        ),
    ],
)
def test_float_operators(name: str, types: list[str]) -> None:
    assert [operator.type for _, operator in float_operators(read(edit.raw(name)))] == types


def test_float_constant_does_not_make_a_float_operator() -> None:
    model = edit.load("cnn_int8")
    bias = edit.read_by(model, "FULLY_CONNECTED", 2)
    bias.type, bias.quantization = schema.TensorType.FLOAT32, None
    assert list(float_operators(read(edit.packed(model)))) == []


def test_packed_constants_belong_to_the_operator_that_computes() -> None:
    counts = {entry.kind: entry for entry in operator_counts(read(edit.raw("cnn_float16")))}
    convolution = counts[OperatorKind("CONV_2D", 1, ("float32",), "float16", ("float32",))]
    assert (convolution.count, convolution.size_bytes) == (1, 2 * (3 * 3 * 3 * 8 + 8))
    unpacking = counts[OperatorKind("DEQUANTIZE", 3, (), "float16", ("float32",))]
    assert (unpacking.count, unpacking.size_bytes) == (6, 0)


@pytest.mark.parametrize("name", edit.NAMES)
def test_every_byte_of_constants_is_counted_once(name: str) -> None:
    graph = read(edit.raw(name))
    by_dtype, by_operator = dict(size_by_dtype(graph)), operator_counts(graph)
    assert sum(entry.size_bytes for entry in by_operator) == sum(by_dtype.values()) < graph.size_bytes
    assert sum(entry.count for entry in by_operator) == sum(1 for _ in graph.operators())
    assert list(by_dtype.values()) == sorted(by_dtype.values(), reverse=True)


def test_shared_constants_are_counted_once() -> None:
    model = edit.load("cnn_int8")
    before = dict(size_by_dtype(read(edit.packed(model))))
    edit.read_by(model, "DEPTHWISE_CONV_2D", 2).buffer = edit.read_by(model, "CONV_2D", 2).buffer
    after = dict(size_by_dtype(read(edit.packed(model))))
    assert after == {**before, "int32": before["int32"] - 8 * 4}
