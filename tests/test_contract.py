from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tflq.contract import float_ops, left_in_float, weights_left_in_float
from tflq.flatbuffer import Graph, Operator, Quantization, Subgraph, Tensor

Op = tuple[str, str, str]
"""Its type, and the names of what it reads and writes, which begin with the letter of a dtype."""

DTYPES = {"f": "float32", "q": "int8", "s": "int16", "i": "int32", "b": "bool"}


def tensor(index: int, name: str) -> Tensor:
    scaled = Quantization((0.5,), (0,)) if name[0] in "qs" else None
    return Tensor(index, name, DTYPES[name[0]], (1, 4), (1, 4), index, scaled)


def graph(*ops: Op) -> Graph:
    """The first op reads the graph's input, the last one writes its outputs."""
    names = list(dict.fromkeys(name for _, read, written in ops for name in (*read.split(), *written.split())))
    place = {name: index for index, name in enumerate(names)}
    operators = tuple(
        Operator(number, type_, 1, tuple(place[n] for n in read.split()), tuple(place[n] for n in written.split()))
        for number, (type_, read, written) in enumerate(ops)
    )
    tensors = tuple(tensor(index, name) for index, name in enumerate(names))
    main = Subgraph(0, "main", tensors, operators, (0,), operators[-1].outputs)
    return Graph((main,), (), (), 0, 3, "")


IN_INT8, IN_INT16 = ("ABS", "q0", "q1"), ("ABS", "s0", "s1")


@pytest.mark.parametrize(
    ("ops", "reasons"),
    [
        ([IN_INT8], []),
        ([IN_INT8, ("DEQUANTIZE", "q1", "f1")], []),
        ([IN_INT8, ("GREATER", "q1", "b2")], []),
        ([IN_INT8, ("SIN", "f1", "f2")], ["SIN: the quantizer knows no int8 version of this op"]),
        (
            [IN_INT8, ("NOT_EQUAL", "f1", "b2")],
            [
                "NOT_EQUAL: it compares with a float input of the model, a constant beyond the range of the activation,"
                " or an activation of another scale"
            ],
        ),
        ([IN_INT16, ("PRELU", "f1", "f2")], ["PRELU: the quantizer knows no int16 version of this op"]),
        (
            [IN_INT8, ("ELU", "f1", "f2"), ("RESHAPE", "f2", "f3")],
            [
                "ELU: the quantizer knows no int8 version of this op",
                "RESHAPE: beside ELU, which stays in float",
            ],
        ),
        (
            [IN_INT8, ("SLICE", "f1", "f2"), ("FLOOR", "f2", "f3")],
            ["SLICE: beside FLOOR, which stays in float", "FLOOR: the quantizer knows no int8 version of this op"],
        ),
        (
            [IN_INT8, ("UNPACK", "f1", "f2 f3"), ("QUANTIZE", "f2", "q4")],
            ["UNPACK: nothing uses one of its outputs, so calibration found no range for it"],
        ),
        (
            [IN_INT8, ("RESHAPE", "f1", "f2")],
            ["RESHAPE: the quantizer skipped it: it has no range for a tensor, or cannot make its scales equal"],
        ),
        (
            [IN_INT16, ("SQUARED_DIFFERENCE", "f1", "f2")],
            ["SQUARED_DIFFERENCE: LiteRT has no int16 kernel for this op"],
        ),
        ([IN_INT8, ("CAST", "i1", "f2")], ["CAST: converts int32 to float, and int32 is no quantized dtype"]),
        ([IN_INT8, ("CAST", "f1", "i2")], ["CAST: the quantizer knows no int8 version of this op"]),
        ([IN_INT8, ("READ_VARIABLE", "i1", "f2")], ["READ_VARIABLE: the converter does not quantize variables"]),
    ],
)
def test_float_ops_and_their_reasons(ops: list[Op], reasons: list[str]) -> None:
    assert [f"{op.type}: {op.reason}" for op in float_ops(graph(*ops))] == reasons


def test_ops_left_in_float_for_one_reason_are_told_together() -> None:
    made = graph(IN_INT8, ("ELU", "f1", "f2;f2;f2"), ("ELU", "f3", "f4"), ("ELU", "f5", "f6"), ("SIN", "f7", "f8"))
    assert [f"{violation.where} {violation.message}" for violation in left_in_float(made)] == [
        "ELU 'f2' and 2 more of them stay in float: the quantizer knows no int8 version of this op; use RELU"
        " or LEAKY_RELU",
        "SIN 'f8' stays in float: the quantizer knows no int8 version of this op",
    ]


def with_weights(*ops: tuple[str, str, int]) -> Graph:
    """A chain of ops, each with the first letter of the dtype of its weights, and their number."""
    tensors = [tensor(0, "q0")]
    operators = []
    for place, (type_, letter, count) in enumerate(ops):
        stored = np.zeros(4 * count, np.uint8)
        weights = replace(tensor(len(tensors), f"{letter}w{place}"), shape=(1, count), stored=stored)
        tensors += [weights, tensor(len(tensors) + 1, f"{letter}{place + 1}")]
        index = weights.index
        operators.append(Operator(place, type_, 1, (index - 1, index), (index + 1,)))
    main = Subgraph(0, "main", tuple(tensors), tuple(operators), (0,), operators[-1].outputs)
    return Graph((main,), (), (), 0, 3, "")


@pytest.mark.parametrize(
    ("ops", "kept", "said"),
    [
        ([("CONV_2D", "q", 60), ("CONV_2D", "f", 40)], [], ""),
        (
            [("CONV_2D", "q", 40), ("CONV_2D", "f", 60)],
            [],
            "the file has 60 of 100 weights in float, although their ops have int8 kernels, such as CONV_2D 'f2': the"
            " quantizer skipped it: it has no range for a tensor, or cannot make its scales equal",
        ),
        ([("CONV_2D", "q", 40), ("CONV_2D", "f", 60)], [1], ""),
        ([("CONV_2D", "q", 40), ("CONV_3D", "f", 60)], [], ""),
    ],
)
def test_weights_that_stay_in_float_without_need(ops: list[tuple[str, str, int]], kept: list[int], said: str) -> None:
    violations = weights_left_in_float(with_weights(*ops), "int8", kept)
    assert "".join(f"{violation.where} {violation.message}" for violation in violations) == said
