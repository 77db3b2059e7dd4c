"""How alike two ops of two files are: their types, output shapes, names and constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflq.contract import ADAPTORS
from tflq.flatbuffer import Operator, Subgraph, Tensor, has_real_values, real_values, stored_constants

SAMPLED = 2048
"""The largest number of values of a constant that are compared."""
ALIKE = 0.7
"""Two constants are alike if the cosine similarity of their values is above this."""

Key = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Constant:
    """The shape of a constant and some of its real values; no values if they cannot be compared."""

    shape: tuple[int, ...]
    values: np.ndarray | None


class Likeness:
    """Compares the ops of two subgraphs by their numbers."""

    def __init__(self, before: Subgraph, after: Subgraph) -> None:
        self.before, self.after = before, after
        self._keys = tuple({op.index: _key(graph, op) for op in graph.operators} for graph in (before, after))
        self._constants = tuple(_constants(graph) for graph in (before, after))

    def key_before(self, number: int) -> Key:
        return self._keys[0][number]

    def key_after(self, number: int) -> Key:
        return self._keys[1][number]

    def of(self, before: int, after: int) -> float:
        """Return a number from 0 to 5.5; it is 0 if the ops cannot correspond."""
        (type_, shape), (other_type, other_shape) = self._keys[0][before], self._keys[1][after]
        if type_ != other_type:
            is_replaced = shape == other_shape and type_ not in ADAPTORS and other_type not in ADAPTORS
            return 0.25 if is_replaced else 0.0
        constants = _alike(self._constants[0][before], self._constants[1][after])
        return 2.0 + (shape == other_shape) + 2 * constants + 0.5 * self._has_same_name(before, after)

    def _has_same_name(self, before: int, after: int) -> bool:
        ours, theirs = (
            subgraph.written_by(subgraph.operators[number])
            for subgraph, number in ((self.before, before), (self.after, after))
        )
        return bool(ours) and bool(theirs) and ours[0].name == theirs[0].name


def _key(subgraph: Subgraph, operator: Operator) -> Key:
    written = subgraph.written_by(operator)
    return operator.type, written[0].shape if written else ()


def _constants(subgraph: Subgraph) -> dict[int, list[_Constant]]:
    """Return the constants of each op, by the number of the op."""
    sampled = {index: _sampled(tensor) for index, tensor in stored_constants(subgraph).items()}
    return {op.index: [sampled[index] for index in op.inputs if index in sampled] for op in subgraph.operators}


def _sampled(tensor: Tensor) -> _Constant:
    if not has_real_values(tensor):
        return _Constant(tensor.shape, None)
    values = real_values(tensor).reshape(-1)
    sampled = values[:: max(1, len(values) // SAMPLED)].astype(np.float32)
    norm = np.linalg.norm(sampled)
    return _Constant(tensor.shape, sampled / norm if norm and np.isfinite(norm) else sampled)


def _alike(ours: list[_Constant], theirs: list[_Constant]) -> float:
    """Return the share of the constants that have the same shape and similar values."""
    if len(ours) != len(theirs) or not ours:
        return 0.0 if ours or theirs else 1.0
    return sum(_is_alike(one, other) for one, other in zip(ours, theirs, strict=True)) / len(ours)


def _is_alike(one: _Constant, other: _Constant) -> bool:
    if one.shape != other.shape or one.values is None or other.values is None:
        return one.shape == other.shape
    return bool(np.array_equal(one.values, other.values) or float(one.values @ other.values) > ALIKE)
