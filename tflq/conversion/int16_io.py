"""Inputs and outputs that are to be int16 where an op that stays in float takes or makes them.

The 16-bit quantizer refuses such a file, so it does not get to see these ends; they are converted afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import edit

Side = Literal["inputs", "outputs"]
LARGEST = 2**15 - 1


@dataclass(frozen=True)
class IoTensor:
    """An input or output of the first subgraph, by the op in float that has it there too."""

    side: Side
    place: int
    operator: bytes
    position: int
    scale: float
    entries: tuple[tuple[int, bytes], ...]
    """What the signature calls it, and at which place there."""


def detach_io(model: Any, side: Side, operators: Mapping[bytes, Any]) -> tuple[IoTensor, ...]:
    """Take those that one of the operators reads or writes from the model, whose ranges are set."""
    (subgraph, *_) = model.subgraphs
    used = {int(index): (name, i) for name, op in operators.items() for i, index in enumerate(getattr(op, side))}
    indices = list(getattr(subgraph, side))
    ends = tuple(
        IoTensor(side, place, *used[index], _scale(subgraph.tensors[index]), _entries(model, side, index))
        for place, index in enumerate(indices)
        if index in used and subgraph.tensors[index].type == schema.TensorType.FLOAT32
    )
    gone = {indices[end.place] for end in ends}
    setattr(subgraph, side, [index for index in indices if index not in gone])
    for signature in _signatures(model):
        setattr(signature, side, [entry for entry in getattr(signature, side) if entry.tensorIndex not in gone])
    return ends


def reattach_io(model: Any, ends: Sequence[IoTensor], operators: Mapping[bytes, Any]) -> None:
    """Each where it was, as int16, with its conversion from or to what the operator has."""
    (subgraph, *_) = model.subgraphs
    for end in ends:
        inner = int(getattr(operators[end.operator], end.side)[end.position])
        outer = edit.add_copy(subgraph, inner)
        tensor = subgraph.tensors[outer]
        tensor.name, tensor.type, tensor.buffer = tensor.name + b"_int16", schema.TensorType.INT16, 0
        tensor.quantization = schema.QuantizationParametersT(scale=[end.scale], zeroPoint=[0])
        _convert(model, end.side, inner, outer)
        _insert(subgraph, end.side, end.place, outer)
        for signature in _signatures(model):
            for place, name in end.entries:
                _insert(signature, end.side, place, schema.TensorMapT(name, outer))


def _insert(holder: Any, side: Side, place: int, value: Any) -> None:
    held = getattr(holder, side)
    values = [] if held is None else list(held)  # what is empty is read as nothing at all
    setattr(holder, side, [*values[:place], value, *values[place:]])


def _convert(model: Any, side: Side, inner: int, outer: int) -> None:
    operators = model.subgraphs[0].operators
    if side == "inputs":
        operators.insert(0, edit.conversion(model, "DEQUANTIZE", outer, inner))
    else:
        operators.append(edit.conversion(model, "QUANTIZE", inner, outer))


def _scale(tensor: Any) -> float:
    low, high = edit.range_of(tensor) or (-1.0, 1.0)
    return max(-low, high) / LARGEST


def _signatures(model: Any) -> list[Any]:
    return [signature for signature in model.signatureDefs or [] if signature.subgraphIndex == 0]


def _entries(model: Any, side: Side, index: int) -> tuple[tuple[int, bytes], ...]:
    return tuple(
        (place, entry.name)
        for signature in _signatures(model)
        for place, entry in enumerate(getattr(signature, side))
        if entry.tensorIndex == index
    )
