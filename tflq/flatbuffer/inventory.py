"""Count the contents of a graph: operators by kind, bytes by dtype and by kind of operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tflq.flatbuffer.graph import ABSENT, Graph, Operator, Subgraph, Tensor

CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE", "DENSIFY"})
"""Operators that change how numbers are stored, and compute nothing."""
_WITHOUT_VALUES = frozenset({"SHAPE", "RANK", "WHILE", "IF", "CALL", "CALL_ONCE", "VAR_HANDLE"})
"""Operators that compute with no value themselves. The operators of a control-flow body are in another subgraph."""


@dataclass(frozen=True)
class OperatorKind:
    """The type, version and dtypes that operators of one kind have in common.

    `inputs` and `outputs` are the dtypes of tensors that are computed at run time. `weights` is the stored dtype of
    the largest constant that is a float or quantized. It is None without such a constant.
    """

    type: str
    version: int
    inputs: tuple[str, ...]
    weights: str | None
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OperatorCount:
    """The number of operators of a kind, and the bytes of their constants. A constant is counted once in a graph."""

    kind: OperatorKind
    count: int
    size_bytes: int


def float_operators(graph: Graph) -> Iterator[tuple[Subgraph, Operator]]:
    """Yield the operators that compute in float: they read or write a float tensor that is no constant.

    Constants do not matter, because the activations decide the dtype of a kernel. Operators that only convert, that use
    no values, or that call another subgraph are left out.
    """
    for subgraph, operator in graph.operators():
        if operator.type in CONVERSIONS or operator.type in _WITHOUT_VALUES:
            continue
        tensors = (*subgraph.read_by(operator), *subgraph.written_by(operator))
        if any(tensor.is_float and not tensor.is_constant for tensor in tensors):
            yield subgraph, operator


def operator_counts(graph: Graph) -> tuple[OperatorCount, ...]:
    """Count the operators of the graph by kind. The kinds are in the order of the graph."""
    counts: Counter[OperatorKind] = Counter()
    sizes: Counter[OperatorKind] = Counter()
    counted: set[int] = set()
    for subgraph in graph.subgraphs:
        constants = stored_constants(subgraph)
        for operator in subgraph.operators:
            kind = _kind(subgraph, operator, constants)
            counts[kind] += 1
            for tensor in _owned(operator, constants):
                sizes[kind] += 0 if tensor.buffer in counted else tensor.size_bytes
                counted.add(tensor.buffer)
    return tuple(OperatorCount(kind, count, sizes[kind]) for kind, count in counts.items())


def size_by_dtype(graph: Graph) -> tuple[tuple[str, int], ...]:
    """Return the bytes of the constants by dtype, the largest first. Tensors that share a buffer count once."""
    stored = {tensor.buffer: tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors}
    sizes: Counter[str] = Counter()
    for tensor in stored.values():
        sizes[tensor.dtype] += tensor.size_bytes
    return tuple((dtype, size) for dtype, size in sizes.most_common() if size)


def stored_constants(subgraph: Subgraph) -> dict[int, Tensor]:
    """Return the constants by tensor index. The index of a dequantized constant leads to the stored constant."""
    constants = {tensor.index: tensor for tensor in subgraph.tensors if tensor.is_constant}
    for operator in subgraph.operators:
        source = subgraph.input(operator, 0)
        if operator.type in CONVERSIONS and source is not None and source.index in constants:
            constants.update(dict.fromkeys(operator.outputs, constants[source.index]))
    return constants


def _owned(operator: Operator, constants: dict[int, Tensor]) -> list[Tensor]:
    if operator.outputs and operator.outputs[0] in constants:
        return []  # the stored constant belongs to the operator that computes with it
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
