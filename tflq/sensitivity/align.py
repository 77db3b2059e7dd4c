"""Which tensor of a quantized file is which of the float32 file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tflq.contract import ADAPTORS
from tflq.flatbuffer import Graph, Operator, Subgraph, Tensor


@dataclass(frozen=True)
class Aligned:
    """Of the main graphs of a float32 file and of one that was quantized from it."""

    float32: Subgraph
    made: Subgraph
    activations: Mapping[int, int]
    """By the tensor in the float32 file the one in the other, as the op that makes it writes it."""
    constants: Mapping[tuple[int, int], Tensor]
    """By the number of an op of the float32 file and the position where it reads, the other's constant."""


def aligned(float32: Graph, made: Graph) -> Aligned:
    """By the order of the ops, where adaptors apart both have the same; else by the names of tensors."""
    ours, theirs = float32.subgraphs[0], made.subgraphs[0]
    operators = [operator for operator in theirs.operators if operator.type not in ADAPTORS]
    if [one.type for one in operators] != [one.type for one in ours.operators]:
        return Aligned(ours, theirs, _by_name(ours, theirs), {})
    pairs = list(zip(ours.operators, operators, strict=True))
    activations = {index: _read(pairs, index) for index in ours.inputs}
    activations |= {one: other for op, twin in pairs for one, other in zip(op.outputs, twin.outputs, strict=False)}
    constants = {
        (op.index, position): tensor
        for op, twin in pairs
        for position, _ in enumerate(op.inputs)
        if (tensor := theirs.input(twin, position)) is not None and tensor.is_constant
    }
    return Aligned(ours, theirs, {one: other for one, other in activations.items() if other >= 0}, constants)


def _read(pairs: list[tuple[Operator, Operator]], index: int) -> int:
    """What the first reader of that input reads in the other file."""
    found = (twin.inputs[op.inputs.index(index)] for op, twin in pairs if index in op.inputs)
    return next(found, -1)


def _by_name(ours: Subgraph, theirs: Subgraph) -> dict[int, int]:
    places = {tensor.name: tensor.index for tensor in theirs.tensors if not tensor.is_constant}
    return {tensor.index: places[tensor.name] for tensor in ours.tensors if tensor.name in places}
