"""Inputs and outputs that should be int16 although an op that stays in float reads or writes them.

The 16-bit quantizer refuses such a file. These inputs and outputs are detached first, and reattached afterwards with a
conversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import edit

Side = Literal["inputs", "outputs"]
INT16_MAX = 2**15 - 1


@dataclass(frozen=True)
class IoTensor:
    """An input or output of the first subgraph, and the float op that reads or writes it."""

    side: Side
    place: int
    """The position among the inputs or outputs of the subgraph."""
    operator: bytes
    """The custom code of the hidden op."""
    position: int
    """The position among the inputs or outputs of the op."""
    scale: float
    entries: tuple[tuple[int, bytes], ...]
    """The position and the name in each signature."""


def detach_io(model: Any, side: Side, operators: Mapping[bytes, Any]) -> tuple[IoTensor, ...]:
    """Remove the inputs or outputs that one of the operators uses from the model. Their ranges must be set."""
    (subgraph, *_) = model.subgraphs
    used = {int(index): (name, i) for name, op in operators.items() for i, index in enumerate(getattr(op, side))}
    indices = list(getattr(subgraph, side))
    io_tensors = tuple(
        IoTensor(side, place, *used[index], _scale(subgraph.tensors[index]), _entries(model, side, index))
        for place, index in enumerate(indices)
        if index in used and subgraph.tensors[index].type == schema.TensorType.FLOAT32
    )
    detached = {indices[io_tensor.place] for io_tensor in io_tensors}
    setattr(subgraph, side, [index for index in indices if index not in detached])
    for signature in _signatures(model):
        setattr(signature, side, [entry for entry in getattr(signature, side) if entry.tensorIndex not in detached])
    return io_tensors


def reattach_io(model: Any, io_tensors: Sequence[IoTensor], operators: Mapping[bytes, Any]) -> None:
    """Put each input or output back as int16, with a conversion from or to the float tensor of its operator."""
    (subgraph, *_) = model.subgraphs
    for io_tensor in io_tensors:
        side = io_tensor.side
        inner = int(getattr(operators[io_tensor.operator], side)[io_tensor.position])
        outer = edit.add_copy(subgraph, inner)
        tensor = subgraph.tensors[outer]
        tensor.name, tensor.type, tensor.buffer = tensor.name + b"_int16", schema.TensorType.INT16, 0
        tensor.quantization = schema.QuantizationParametersT(scale=[io_tensor.scale], zeroPoint=[0])
        _convert(model, side, inner, outer)
        _insert(subgraph, side, io_tensor.place, outer)
        for signature in _signatures(model):
            for place, name in io_tensor.entries:
                _insert(signature, side, place, schema.TensorMapT(name, outer))


def _insert(holder: Any, side: Side, place: int, value: Any) -> None:
    current = getattr(holder, side)
    values = [] if current is None else list(current)  # an empty vector is read as None
    setattr(holder, side, [*values[:place], value, *values[place:]])


def _convert(model: Any, side: Side, inner: int, outer: int) -> None:
    operators = model.subgraphs[0].operators
    if side == "inputs":
        operators.insert(0, edit.conversion(model, "DEQUANTIZE", outer, inner))
    else:
        operators.append(edit.conversion(model, "QUANTIZE", inner, outer))


def _scale(tensor: Any) -> float:
    low, high = edit.range_of(tensor) or (-1.0, 1.0)
    return max(-low, high) / INT16_MAX


def _signatures(model: Any) -> list[Any]:
    return [signature for signature in model.signatureDefs or [] if signature.subgraphIndex == 0]


def _entries(model: Any, side: Side, index: int) -> tuple[tuple[int, bytes], ...]:
    return tuple(
        (place, entry.name)
        for signature in _signatures(model)
        for place, entry in enumerate(getattr(signature, side))
        if entry.tensorIndex == index
    )
