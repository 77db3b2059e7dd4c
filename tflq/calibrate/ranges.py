"""Compute the range of every activation, which its integers will span, from the observations and histograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from tflq.calibrate.following_activation import following_activations, identity, keeping_positive
from tflq.calibrate.headroom import headroom
from tflq.calibrate.histogram import Histogram, SquaredError
from tflq.calibrate.observe import Observation
from tflq.calibrate.schema import Method
from tflq.flatbuffer import MOVING, Graph, Subgraph

FIXED = {"SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX"}
"""Ops whose integer kernels have a fixed output scale, whatever range was observed."""
_POOLING = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
_REARRANGING = (
    *("PAD", "MIRROR_PAD", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"),
    *("SPLIT_V", "UNPACK"),
)
PASSING = {"SPLIT": 1, **dict.fromkeys((*MOVING, *_POOLING, *_REARRANGING), 0)}
"""Ops whose output has the scale of one input, with the position of that input."""
JOINING = {"CONCATENATION", "PACK", "MAXIMUM", "MINIMUM"}
"""Ops whose inputs and outputs all have one scale."""


@dataclass(frozen=True)
class Range:
    """The range of one activation: the values that its integers span, and the values that were observed."""

    subgraph: int
    tensor: int
    name: str
    minimum: float
    maximum: float
    lowest: float
    """The lowest value that was observed."""
    highest: float
    """The highest value that was observed."""
    is_fixed: bool = False
    """Whether the op that writes the activation has a fixed output scale."""

    @property
    def kept(self) -> float:
        """The width of this range as a share of the observed range. It is above 1 if the range has headroom."""
        return self.share(self.minimum, self.maximum)

    def share(self, minimum: float, maximum: float) -> float:
        """Return the width of that range as a share of the observed range. Both are first widened to contain 0."""
        observed = max(self.highest, 0.0) - min(self.lowest, 0.0)
        return (max(maximum, 0.0) - min(minimum, 0.0)) / observed if observed else 1.0


@dataclass(frozen=True)
class RangeMethod:
    """The way to choose ranges for activations of that many bits."""

    method: Method
    bits: int
    has_headroom: bool = False
    """Whether ends that clip nothing are widened for unseen samples."""


def ranges(
    graph: Graph, observation: Observation, histograms: Mapping[int, Histogram], range_method: RangeMethod
) -> tuple[Range, ...]:
    """Return the range of every observed activation. The method minmax needs no histograms.

    Unless the method is plain minmax, the ranges of tensors that must have one scale are made equal.
    """
    (subgraph, *_), method = graph.subgraphs, range_method.method
    lowest, highest = observation.minima.min(0), observation.maxima.max(0)
    fixed = {index for op in subgraph.operators if op.type in FIXED for index in op.outputs}
    observed = {
        index: Range(0, index, subgraph.tensors[index].name, low, high, low, high, index in fixed)
        for index, low, high in zip(observation.tensors, lowest.tolist(), highest.tolist(), strict=True)
    }
    if method == "minmax" and not range_method.has_headroom:
        return tuple(observed.values())
    selected, errors, bits = observed, dict[int, SquaredError](), range_method.bits
    if method == "mse":
        functions = following_activations(subgraph)
        errors = {index: SquaredError(histograms[index], bits, functions.get(index, identity)) for index in observed}
        selected = _clip(observed, lambda range_: errors[range_.tensor].least(range_.lowest, range_.highest))
    elif method != "minmax":
        percent = method.percentile
        selected = _clip(observed, lambda range_: histograms[range_.tensor].percentile(percent))
    if range_method.has_headroom:
        selected = _add_headroom(selected, subgraph, observation, bits)
    if errors:
        selected = _share_across_relus(selected, subgraph, errors)
    return tuple(_unify(subgraph, selected).values())


def _clip(observed: Mapping[int, Range], ends: Callable[[Range], tuple[float, float]]) -> dict[int, Range]:
    clipped = dict(observed)
    for index, range_ in observed.items():
        if not range_.is_fixed:
            low, high = ends(range_)
            clipped[index] = replace(range_, minimum=max(range_.lowest, low), maximum=min(range_.highest, high))
    return clipped


def _share_across_relus(
    separate: Mapping[int, Range], subgraph: Subgraph, errors: Mapping[int, SquaredError]
) -> dict[int, Range]:
    """Give the input and output of each ReLU-like op one range if this lowers the error: values are rounded once."""
    shared = dict(separate)
    for indices in keeping_positive(subgraph):
        if not shared.keys() >= {*indices}:  # a tensor that is no float, or is empty
            continue
        pair = [shared[index] for index in indices]
        low, high = min(range_.minimum for range_ in pair), max(range_.maximum for range_ in pair)
        before, after = (errors[range_.tensor] for range_ in pair)
        of_negative = replace(before, histogram=before.histogram.negative)
        apart = before.within(pair[0].minimum, pair[0].maximum) + after.within(pair[1].minimum, pair[1].maximum)
        if of_negative.within(low, high) + after.within(low, high) < apart:
            shared |= {range_.tensor: replace(range_, minimum=low, maximum=high) for range_ in pair}
    return shared


def _add_headroom(
    clipped: Mapping[int, Range], subgraph: Subgraph, observation: Observation, bits: int
) -> dict[int, Range]:
    widened = dict(clipped)
    for place, index in enumerate(observation.tensors):
        minima, maxima = observation.minima[:, place], observation.maxima[:, place]
        if not clipped[index].is_fixed:
            values = len(minima) * prod(subgraph.tensors[index].shape)
            widened[index] = _widen(clipped[index], (minima, maxima), values, bits)
    return widened


def _widen(clipped: Range, extremes: tuple[np.ndarray, np.ndarray], values: float, bits: int) -> Range:
    """Widen the ends that clip nothing. The factor of each end depends on the other end, so there are two rounds."""
    (minima, maxima), minimum, maximum = extremes, clipped.minimum, clipped.maximum
    for _ in range(2):
        if clipped.maximum == clipped.highest > 0:
            maximum = clipped.maximum * headroom(maxima, values, max(-minimum, 0.0), bits)
        if clipped.minimum == clipped.lowest < 0:
            minimum = clipped.minimum * headroom(-minima, values, max(maximum, 0.0), bits)
    return replace(clipped, minimum=minimum, maximum=maximum)


def _unify(subgraph: Subgraph, separate: Mapping[int, Range]) -> dict[int, Range]:
    """Give the outputs of `PASSING` and `JOINING` ops the range of their inputs."""
    unified = dict(separate)
    for operator in subgraph.operators:
        inputs = [unified[index] for index in operator.inputs if index in unified]
        if operator.type in PASSING:
            source = operator.inputs[PASSING[operator.type]]
            inputs = [unified[source]] if source in unified else []
        elif operator.type not in JOINING:
            continue
        for output in (unified[index] for index in operator.outputs if index in unified and inputs):
            low, high = min(r.minimum for r in inputs), max(r.maximum for r in inputs)
            unified[output.tensor] = replace(output, minimum=low, maximum=high)
    return unified
