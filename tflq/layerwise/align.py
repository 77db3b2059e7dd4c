"""Alignment of a quantized file with the float32 file: which tensor is which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tflq.flatbuffer import CONVERSIONS, Graph, Operator, Subgraph, Tensor, stored_constants
from tflq.op_dtypes import type_in_integer_file


@dataclass(frozen=True)
class Alignment:
    """The main graphs of a float32 file and of the file quantized from it, and the tensors that correspond."""

    float32: Subgraph
    quantized: Subgraph
    activations: Mapping[int, int]
    """Tensor of the float32 file → tensor of the quantized file, as the op that computes it writes it."""
    constants: Mapping[tuple[int, int], Tensor]
    """Number of an op of the float32 file and position of its input → stored constant of the quantized file."""


def align(float32: Graph, quantized: Graph) -> Alignment:
    """Align two graphs by the order of their ops if both have the same ops, without adaptors; else by tensor names."""
    ours, theirs = float32.subgraphs[0], quantized.subgraphs[0]
    operators = [operator for operator in theirs.operators if operator.type not in CONVERSIONS]
    types = [[type_in_integer_file(op.type) for op in each] for each in (operators, ours.operators)]
    if types[0] != types[1]:
        return Alignment(ours, theirs, _by_name(ours, theirs), {})
    pairs = list(zip(ours.operators, operators, strict=True))
    activations = {index: _read(pairs, index) for index in ours.inputs}
    activations |= {own: other for op, twin in pairs for own, other in zip(op.outputs, twin.outputs, strict=False)}
    stored = stored_constants(theirs)
    constants = {
        (op.index, position): stored[index]
        for op, twin in pairs
        for position, index in enumerate(twin.inputs[: len(op.inputs)])
        if index in stored
    }
    return Alignment(ours, theirs, {own: other for own, other in activations.items() if other >= 0}, constants)


def _read(pairs: list[tuple[Operator, Operator]], index: int) -> int:
    """Return the tensor that the first reader of that input reads in the quantized file, or -1."""
    tensors = (twin.inputs[op.inputs.index(index)] for op, twin in pairs if index in op.inputs)
    return next(tensors, -1)


def _by_name(ours: Subgraph, theirs: Subgraph) -> dict[int, int]:
    places = {tensor.name: tensor.index for tensor in theirs.tensors if not tensor.is_constant}
    return {tensor.index: places[tensor.name] for tensor in ours.tensors if tensor.name in places}
