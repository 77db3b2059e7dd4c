"""What a graph is made of: operators by what they compute in, bytes by dtype and by operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tflq.flatbuffer.graph import ABSENT, Graph, Operator, Subgraph, Tensor

CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE", "DENSIFY"})
"""Operators that change how numbers are stored, and compute nothing."""
_BLIND = frozenset({"SHAPE", "RANK", "WHILE", "IF", "CALL", "CALL_ONCE", "VAR_HANDLE"})
"""Operators that see no value themselves: the bodies of control flow are subgraphs with operators of their own."""


@dataclass(frozen=True)
class OperatorKind:
    """What operators that compute in the same way have in common: type, version and dtypes.

    `inputs` and `outputs` hold the dtypes of what is made at run time; `weights` is the dtype, as stored, of the
    largest constant that is a float or quantized, None where there is none.
    """

    type: str
    version: int
    inputs: tuple[str, ...]
    weights: str | None
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OperatorCount:
    """How many operators of a kind there are, and the bytes of their constants, each counted once in a graph."""

    kind: OperatorKind
    count: int
    size_bytes: int


def float_operators(graph: Graph) -> Iterator[tuple[Subgraph, Operator]]:
    """The operators that compute in float: one of the tensors they read or write at run time is a float.

    Constants do not count: the activations say what a kernel computes in. Nor do operators that only convert, that
    see no value, or that hand tensors to another subgraph.
    """
    for subgraph, operator in graph.operators():
        if operator.type in CONVERSIONS or operator.type in _BLIND:
            continue
        tensors = (*subgraph.read_by(operator), *subgraph.written_by(operator))
        if any(tensor.is_float and not tensor.is_constant for tensor in tensors):
            yield subgraph, operator


def operator_counts(graph: Graph) -> tuple[OperatorCount, ...]:
    """Every operator of the graph by its kind; the kinds in the order of the graph."""
    counts: Counter[OperatorKind] = Counter()
    sizes: Counter[OperatorKind] = Counter()
    counted: set[int] = set()
    for subgraph in graph.subgraphs:
        constants = _constants(subgraph)
        for operator in subgraph.operators:
            kind = _kind(subgraph, operator, constants)
            counts[kind] += 1
            for tensor in _owned(operator, constants):
                sizes[kind] += 0 if tensor.buffer in counted else tensor.size_bytes
                counted.add(tensor.buffer)
    return tuple(OperatorCount(kind, count, sizes[kind]) for kind, count in counts.items())


def size_by_dtype(graph: Graph) -> tuple[tuple[str, int], ...]:
    """The bytes of the constants by dtype, the largest first; tensors that share a place count once."""
    stored = {tensor.buffer: tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors}
    sizes: Counter[str] = Counter()
    for tensor in stored.values():
        sizes[tensor.dtype] += tensor.size_bytes
    return tuple((dtype, size) for dtype, size in sizes.most_common() if size)


def _constants(subgraph: Subgraph) -> dict[int, Tensor]:
    """The constants by tensor index, and under a tensor that is only an unpacked constant, the packed one."""
    constants = {tensor.index: tensor for tensor in subgraph.tensors if tensor.is_constant}
    for operator in subgraph.operators:
        source = subgraph.input(operator, 0)
        if operator.type in CONVERSIONS and source is not None and source.index in constants:
            constants.update(dict.fromkeys(operator.outputs, constants[source.index]))
    return constants


def _owned(operator: Operator, constants: dict[int, Tensor]) -> list[Tensor]:
    if operator.outputs and operator.outputs[0] in constants:
        return []  # the packed constant belongs to whoever computes with it
    return [constants[index] for index in operator.inputs if index in constants]


def _kind(subgraph: Subgraph, operator: Operator, constants: dict[int, Tensor]) -> OperatorKind:
    read = [index for index in operator.inputs if index != ABSENT]
    weights = [constants[index] for index in read if index in constants]
    weights = [tensor for tensor in weights if tensor.is_float or tensor.quantization]
    largest = max(weights, key=lambda tensor: tensor.size_bytes, default=None)
    return OperatorKind(
        type=operator.type,
        version=operator.version,
        inputs=_dtypes(subgraph.tensors[index] for index in read if index not in constants),
        weights=largest.dtype if largest else None,
        outputs=_dtypes(subgraph.written_by(operator)),
    )


def _dtypes(tensors: Iterator[Tensor] | tuple[Tensor, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tensor.dtype for tensor in tensors))
