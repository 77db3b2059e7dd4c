"""Find attention masks: constants with large negative values that are added to logits, or selected in their place.

A constant is a mask if every op behind it passes its values on, up to the input of a SOFTMAX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tflq.flatbuffer import Graph, Operator, Subgraph, Tensor

LEAST_MASK = 64.0
"""The least magnitude of a value that can be a mask. Its exponential beside that of 0 is zero in float32."""
MOVING = {
    "SPLIT": (1,),
    "SPLIT_V": (0,),
    "UNPACK": (0,),
    "FILL": (1,),
    "SELECT": (1, 2),
    "SELECT_V2": (1, 2),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "BROADCAST_TO", "TILE", "CAST"), (0,)),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE", "GATHER", "GATHER_ND", "REVERSE_V2"), (0,)),
}
"""Ops whose outputs have the values of some inputs, with the positions of those inputs."""
JOINED = {"CONCATENATION", "PACK"}
"""Ops whose output has the values of all inputs."""

SHAPES = {"SHAPE", "RANK"}
"""Ops that read no values."""
MAX_PATHS = 1000
"""A constant with more ways to a SOFTMAX is not taken as a mask."""

Place = tuple[int, int]
"""The index of an operator, and the position of one of its inputs."""


@dataclass(frozen=True)
class MaskPath:
    """One way from a mask to a SOFTMAX."""

    softmax: int
    """The index of the SOFTMAX."""
    gain: float = 1.0
    """The factor of the constants on the way. It is negative if the mask is subtracted."""
    is_added: bool = False
    """Whether the mask is added to other values. If it is not, it is selected in their place."""
    indicators: tuple[int, ...] = ()
    """The computed tensors that the mask is multiplied by. Their values must be 0 and 1, or 0 and −1."""


@dataclass(frozen=True)
class Mask:
    """A constant as one operator reads it, and all ways from there. Each ends in a SOFTMAX."""

    tensor: int
    place: Place
    paths: tuple[MaskPath, ...]


def find_masks(graph: Graph) -> tuple[Mask, ...]:
    """Return the masks of the first subgraph. A constant that one operator reads as a mask may have other readers."""
    (subgraph, *_) = graph.subgraphs
    masks = []
    for place, paths in _paths(subgraph).items():
        operator, position = place
        tensor = subgraph.tensors[subgraph.operators[operator].inputs[position]]
        if paths and is_mask(tensor) and all(_is_negative(tensor, path) for path in paths):
            masks.append(Mask(tensor.index, place, paths))
    return tuple(masks)


def _paths(subgraph: Subgraph) -> dict[Place, tuple[MaskPath, ...] | None]:
    """Return the ways from each constant as an operator reads it. None if one of them does not end in a SOFTMAX."""
    behind: dict[int, tuple[MaskPath, ...] | None] = dict.fromkeys(subgraph.outputs)
    from_constants: dict[Place, tuple[MaskPath, ...] | None] = {}
    for operator in reversed(subgraph.operators):
        for position, index in enumerate(operator.inputs):
            if index < 0 or operator.type in SHAPES or subgraph.tensors[index].dtype != "float32":
                continue
            paths = _paths_through(subgraph, (operator, position), behind)
            behind[index] = _united([behind.get(index, ()), paths])
            if subgraph.tensors[index].is_constant:
                from_constants[operator.index, position] = paths
    return dict(sorted(from_constants.items()))


def _paths_through(
    subgraph: Subgraph, reader: tuple[Operator, int], behind: Mapping[int, tuple[MaskPath, ...] | None]
) -> tuple[MaskPath, ...] | None:
    operator, position = reader
    if operator.type == "SOFTMAX":
        return (MaskPath(operator.index),)
    step = _step(subgraph, operator, position)
    if step is None or any(subgraph.tensors[index].dtype != "float32" for index in operator.outputs):
        return None
    paths = _united([behind.get(index, ()) for index in operator.outputs])
    return None if paths is None else tuple(dict.fromkeys(_joined(step, path) for path in paths))


def _united(parts: Sequence[tuple[MaskPath, ...] | None]) -> tuple[MaskPath, ...] | None:
    union: dict[MaskPath, None] = {}
    for part in parts:
        if part is None:
            return None
        union.update(dict.fromkeys(part))
    return tuple(union) if len(union) <= MAX_PATHS else None


def is_mask(tensor: Tensor) -> bool:
    """Return whether the tensor is a constant with values that can mask logits."""
    return tensor.data is not None and tensor.data.size > 0 and bool(np.any(masking(tensor)))


def masking(tensor: Tensor) -> np.ndarray:
    """Return which values of the constant can mask logits."""
    assert tensor.data is not None
    return np.asarray(np.abs(tensor.data) >= LEAST_MASK)


def _is_negative(tensor: Tensor, path: MaskPath) -> bool:
    """Return whether the mask lowers logits. The sign of an indicator is not known before it is observed."""
    assert tensor.data is not None
    values = tensor.data[masking(tensor)]
    return bool(path.indicators) or bool(np.all(values * path.gain < 0))


def uniform(tensor: Tensor) -> float | None:
    """Return the only value of a float32 constant; None for any other tensor."""
    if tensor.dtype != "float32" or tensor.data is None or tensor.data.size == 0:
        return None
    value = float(tensor.data.flat[0])
    return value if bool(np.all(tensor.data == value)) and np.isfinite(value) and value else None


def _step(subgraph: Subgraph, operator: Operator, position: int) -> MaskPath | None:
    """Return what the operator does to the values of that input. None if it does not pass them on."""
    same = MaskPath(operator.index)
    if operator.fused != "NONE":
        return None
    if operator.type in JOINED or position in MOVING.get(operator.type, ()):
        return same
    if operator.type in ("ADD", "SUB"):
        return replace(same, is_added=True, gain=-1.0 if (operator.type, position) == ("SUB", 1) else 1.0)
    if operator.type == "NEG":
        return replace(same, gain=-1.0)
    if operator.type == "MUL":
        other = subgraph.tensors[operator.inputs[1 - position]]
        if other.is_constant:
            return replace(same, gain=factor) if (factor := uniform(other)) else None
        return replace(same, indicators=(other.index,))
    if operator.type == "DIV" and position == 0:
        divisor = uniform(subgraph.tensors[operator.inputs[1]])
        return replace(same, gain=1 / divisor) if divisor else None
    return None


def _joined(step: MaskPath, path: MaskPath) -> MaskPath:
    return MaskPath(
        path.softmax, step.gain * path.gain, step.is_added or path.is_added, (*step.indicators, *path.indicators)
    )


def passed_on(subgraph: Subgraph, masks: Sequence[Mask]) -> frozenset[int]:
    """Return the tensors that hold values of the masks: all between the masks and the inputs of a SOFTMAX."""
    reached: set[int] = set()
    first = {mask.place[0] for mask in masks}
    for operator in subgraph.operators:  # in the order of computation
        if operator.type in SHAPES or operator.type == "SOFTMAX":
            continue
        if operator.index in first or reached & {*operator.inputs}:
            reached.update(operator.outputs)
    return frozenset(reached)
