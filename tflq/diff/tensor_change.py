"""The activations, inputs and outputs that differ between two files: scales, zero points, names, dtypes and shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tflq.diff.matching import OperatorMatch
from tflq.flatbuffer import Graph, Quantization, Signature, Tensor

SAME_SCALE = 1e-6
"""Two scales are the same if their relative difference is at most this."""


@dataclass(frozen=True)
class ScaleChange:
    """An activation that both files quantize, with another scale or zero point."""

    tensor: str
    """The name in the second file."""
    op: str
    """The type of the op that writes it, or `input`."""
    dtype: str
    """The dtype in the second file."""
    scale_before: float
    scale_after: float
    zero_point_before: int
    zero_point_after: int

    @property
    def ratio(self) -> float:
        """The second scale divided by the first one; infinite if the first one is 0."""
        return self.scale_after / self.scale_before if self.scale_before else math.inf

    @property
    def rank(self) -> float:
        """The key that sorts the largest change of a scale first."""
        return -abs(math.log(self.ratio)) if 0 < self.ratio < math.inf else -math.inf


@dataclass(frozen=True)
class PortChange:
    """An input or output of a signature that differs."""

    signature: str
    side: str
    """`in` or `out`."""
    name: str
    before: str
    """Its dtype, shape, scale and zero point in the first file; empty if the file does not have it."""
    after: str


TensorPair = tuple[str, Tensor, Tensor]
"""The op that writes an activation, and the activation in both files."""


def activation_pairs(match: OperatorMatch) -> Iterator[TensorPair]:
    """Yield the activations that correspond: the inputs of the subgraphs, and what matched ops write."""
    for one, other in zip(match.before.inputs, match.after.inputs, strict=False):
        yield "input", match.before.tensors[one], match.after.tensors[other]
    for ours, theirs in match.pairs:
        for before, after in zip(match.before.written_by(ours), match.after.written_by(theirs), strict=False):
            yield theirs.type, before, after


def scale_changes(match: OperatorMatch) -> Iterator[ScaleChange]:
    """Yield the activations with another scale or zero point. A change of dtype is a change of the op instead."""
    for op, before, after in activation_pairs(match):
        one, other = _parameters(before.quantization), _parameters(after.quantization)
        if before.dtype == after.dtype and one and other and not _are_same(one, other):
            yield ScaleChange(after.name, op, after.dtype, one[0], other[0], one[1], other[1])


def _parameters(quantization: Quantization | None) -> tuple[float, int] | None:
    if quantization is None or not quantization.scales:
        return None
    return quantization.scales[0], quantization.first_zero_point


def _are_same(one: tuple[float, int], other: tuple[float, int]) -> bool:
    return one[1] == other[1] and math.isclose(one[0], other[0], rel_tol=SAME_SCALE)


def renamed_activations(match: OperatorMatch) -> Iterator[tuple[str, str]]:
    """Yield both names of each activation that has another name."""
    names = ((before.name, after.name) for _, before, after in activation_pairs(match))
    yield from (pair for pair in names if pair[0] != pair[1])


def port_changes(before: Graph, after: Graph) -> Iterator[PortChange]:
    """Yield the inputs and outputs that differ, by name, and those that only one file has."""
    ours, theirs = _ports(before), _ports(after)
    for place in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(place, ""), theirs.get(place, "")
        if one != other:
            yield PortChange(*place, one, other)


def _ports(graph: Graph) -> dict[tuple[str, str, str], str]:
    """Map signature, side and name of each input and output to its description."""
    return {
        (signature.key, side, name): _described(graph.subgraphs[signature.subgraph].tensors[index])
        for signature in _signatures(graph)
        for side, entries in (("in", signature.inputs), ("out", signature.outputs))
        for name, index in entries
    }


def _signatures(graph: Graph) -> tuple[Signature, ...]:
    """Return the signatures; without any, one that names the inputs and outputs of the main graph by their tensors."""
    if graph.signatures or not graph.subgraphs:
        return graph.signatures
    main = graph.subgraphs[0]
    inputs, outputs = (tuple((main.tensors[i].name, i) for i in ends) for ends in (main.inputs, main.outputs))
    return (Signature("", 0, inputs, outputs),)


def _described(tensor: Tensor) -> str:
    shape = f"[{', '.join('?' if size == -1 else str(size) for size in tensor.shape_signature)}]"
    parameters = _parameters(tensor.quantization)
    scale = f", scale {parameters[0]:.6g}, zero point {parameters[1]}" if parameters else ""
    return f"{tensor.dtype} {shape}{scale}"
