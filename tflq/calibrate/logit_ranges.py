"""Compute the range of the logits that masks are added to, and how far down a mask must push them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflq.calibrate.attention_masks import JOINED, MOVING, Mask, masking, passed_on, uniform
from tflq.flatbuffer import Graph, Operator, Tensor

PRECISION_BITS = 24
"""The bits of a float32 significand. What is less than half the last bit of a sum does not change it."""
LONGEST_ROW = 4096
"""The row length that is assumed if it is not known."""

Interval = tuple[np.ndarray, np.ndarray]
"""The least and the greatest value on each call, float64 [calls]."""


@dataclass(frozen=True)
class ObservedTensors:
    """The observed values of the tensors around the masks, on some calls."""

    extremes: Mapping[int, Interval]
    signs: Mapping[int, float]
    """The value of each indicator that is not 0: 1 or −1. It is 0 if the indicator was always 0, else NaN."""


def bounds(graph: Graph, masks: Sequence[Mask], betas: Mapping[int, float], seen: ObservedTensors) -> dict[Mask, float]:
    """Return for each mask the magnitude that is enough: beyond it, the exponential is zero in float32.

    `betas` are the factors of each SOFTMAX, by its index. Masks whose indicators have other values than 0 and 1, or 0
    and −1, are left out.
    """
    valid = [mask for mask in masks if _lowers_logits(graph, mask, seen)]
    logits = _Logits(graph, valid, seen)
    softmaxes = {path.softmax for mask in valid for path in mask.paths}
    enough = {softmax: _enough(graph, softmax, betas[softmax], logits) for softmax in softmaxes}
    return {mask: max(enough[path.softmax][path.is_added] / abs(path.gain) for path in mask.paths) for mask in valid}


def _lowers_logits(graph: Graph, mask: Mask, seen: ObservedTensors) -> bool:
    """Return whether the mask multiplied by its gain and its indicators is never positive."""
    tensor = graph.subgraphs[0].tensors[mask.tensor]
    assert tensor.data is not None
    signs = np.sign(tensor.data[masking(tensor)])
    factors = [math.prod((path.gain, *(seen.signs[index] for index in path.indicators))) for path in mask.paths]
    return all(not math.isnan(factor) and bool(np.all(signs * factor <= 0)) for factor in factors)


def _enough(graph: Graph, softmax: int, beta: float, logits: _Logits) -> tuple[float, float]:
    """Return the magnitude that is enough for a mask in place of logits, and for one that is added to logits."""
    (subgraph, *_) = graph.subgraphs
    operator = subgraph.operators[softmax]
    interval = logits.read_at(operator, 0)
    if interval is None:
        return math.inf, math.inf
    size = subgraph.tensors[operator.inputs[0]].shape_signature[-1]
    margin = (PRECISION_BITS * math.log(2) + math.log(size if size > 0 else LONGEST_ROW)) / beta
    lowest, width = float(interval[0].min()), float((interval[1] - interval[0]).max())
    selected = margin + max(-lowest, 0.0)
    return selected, max(selected, margin + width)


class _Logits:
    """The ranges of tensors without the values that masks lower."""

    def __init__(self, graph: Graph, masks: Sequence[Mask], seen: ObservedTensors) -> None:
        (self._subgraph, *_), self._seen = graph.subgraphs, seen
        self._places = {mask.place for mask in masks}
        self._masked = passed_on(self._subgraph, masks)
        self._writers = {index: op for op in self._subgraph.operators for index in op.outputs}

    def read_at(self, operator: Operator, position: int) -> Interval | None:
        """Return the range of an operator's input; None if a mask lowers all of its values."""
        tensor = self._subgraph.tensors[operator.inputs[position]]
        if tensor.data is not None:
            return _of_constant(tensor, is_mask=(operator.index, position) in self._places)
        if tensor.index in self._masked:
            return self._behind(self._writers[tensor.index])
        return self._seen.extremes[tensor.index]

    def _behind(self, operator: Operator) -> Interval | None:
        if operator.type in JOINED:
            return _hull([self.read_at(operator, position) for position in range(len(operator.inputs))])
        if operator.type in MOVING:
            return _hull([self.read_at(operator, position) for position in MOVING[operator.type]])
        if operator.type == "NEG":
            return _scaled(self.read_at(operator, 0), -1.0)
        if operator.type in ("MUL", "DIV"):
            return self._product(operator)
        first, second = self.read_at(operator, 0), self.read_at(operator, 1)
        second = _scaled(second, -1.0) if operator.type == "SUB" else second
        return (first[0] + second[0], first[1] + second[1]) if first and second else None

    def _product(self, operator: Operator) -> Interval | None:
        tensors = [self._subgraph.tensors[index] for index in operator.inputs]
        for position, other in ((0, tensors[1]), (1, tensors[0])):
            factor = uniform(other)
            if factor is not None and (operator.index, 1 - position) not in self._places:
                return _scaled(self.read_at(operator, position), 1 / factor if operator.type == "DIV" else factor)
        position = next(p for p in (0, 1) if (operator.index, p) in self._places or operator.inputs[p] in self._masked)
        zero = (np.zeros(1), np.zeros(1))  # where the indicator is 0
        sign = self._seen.signs[tensors[1 - position].index]
        return _hull([zero, _scaled(self.read_at(operator, position), sign)])


def _of_constant(tensor: Tensor, is_mask: bool) -> Interval | None:
    assert tensor.data is not None
    values = tensor.data[~masking(tensor)] if is_mask else tensor.data
    return (np.array([values.min()], float), np.array([values.max()], float)) if values.size else None


def _scaled(interval: Interval | None, factor: float) -> Interval | None:
    if interval is None:
        return None
    ends = interval[0] * factor, interval[1] * factor
    return (ends[0], ends[1]) if factor >= 0 else (ends[1], ends[0])


def _hull(intervals: Sequence[Interval | None]) -> Interval | None:
    known = [interval for interval in intervals if interval is not None]
    if not known:
        return None
    low, high = known[0]
    for other in known[1:]:
        low, high = np.minimum(low, other[0]), np.maximum(high, other[1])
    return low, high
