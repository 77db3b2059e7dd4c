"""From what was observed to the range of every activation that its integers will span."""

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
from tflq.flatbuffer import Graph, Subgraph

FIXED = {"SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX"}
"""Ops whose integer kernels have one output scale, whatever was observed."""
PASSING = {
    **dict.fromkeys(("SPLIT",), 1),
    **dict.fromkeys(
        (
            *(
                "RESHAPE",
                "SQUEEZE",
                "EXPAND_DIMS",
                "TRANSPOSE",
                "SLICE",
                "STRIDED_SLICE",
                "GATHER",
                "TILE",
                "REVERSE_V2",
            ),
            *("MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "PAD", "MIRROR_PAD"),
            *("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SPLIT_V", "UNPACK"),
            *("REDUCE_MAX", "REDUCE_MIN"),
        ),
        0,
    ),
}
"""Ops whose output has the scale of an input, and which input that is."""
JOINING = {"CONCATENATION", "PACK", "MAXIMUM", "MINIMUM"}
"""Ops whose inputs and output all have one scale."""


@dataclass(frozen=True)
class Range:
    """Of one activation: what its integers span, and what was observed."""

    subgraph: int
    tensor: int
    name: str
    minimum: float
    maximum: float
    lowest: float
    highest: float
    is_fixed: bool = False
    """Whether the op that makes it has one output scale, whatever was observed."""

    @property
    def kept(self) -> float:
        """What part of the observed range it is; more than all of it where it has headroom."""
        return self.part(self.minimum, self.maximum)

    def part(self, minimum: float, maximum: float) -> float:
        """What part of the observed range that one is; 0 belongs to both, since integers always have it."""
        observed = max(self.highest, 0.0) - min(self.lowest, 0.0)
        return (max(maximum, 0.0) - min(minimum, 0.0)) / observed if observed else 1.0


@dataclass(frozen=True)
class RangeMethod:
    """How ranges are chosen, for activations of so many bits."""

    method: Method
    bits: int
    has_headroom: bool = False
    """Whether ends that leave nothing out have room for what was not seen."""


def ranges(
    graph: Graph, observation: Observation, histograms: Mapping[int, Histogram], span: RangeMethod
) -> tuple[Range, ...]:
    """The range of every observed activation; minmax needs no histograms.

    Ranges agree where ops need them to: what passes its values on has the range that it took them with.
    """
    (subgraph, *_), method = graph.subgraphs, span.method
    lowest, highest = observation.minima.min(0), observation.maxima.max(0)
    fixed = {index for op in subgraph.operators if op.type in FIXED for index in op.outputs}
    observed = {
        index: Range(0, index, subgraph.tensors[index].name, low, high, low, high, index in fixed)
        for index, low, high in zip(observation.tensors, lowest.tolist(), highest.tolist(), strict=True)
    }
    if method == "minmax" and not span.has_headroom:
        return tuple(observed.values())
    found, errors = observed, dict[int, SquaredError]()
    if method == "mse":
        behind = following_activations(subgraph)
        errors = {index: SquaredError(histograms[index], span.bits, behind.get(index, identity)) for index in observed}
        found = _clipped(observed, lambda one: errors[one.tensor].least(one.lowest, one.highest))
    elif method != "minmax":
        percent = method.percentile
        found = _clipped(observed, lambda one: histograms[one.tensor].percentile(percent))
    if span.has_headroom:
        found = _with_headroom(found, subgraph, observation, span.bits)
    if errors:
        found = _rounded_once(found, subgraph, errors)
    return tuple(_agreeing(subgraph, found).values())


def _clipped(observed: Mapping[int, Range], ends: Callable[[Range], tuple[float, float]]) -> dict[int, Range]:
    found = dict(observed)
    for index, one in observed.items():
        if not one.is_fixed:
            low, high = ends(one)
            found[index] = replace(one, minimum=max(one.lowest, low), maximum=min(one.highest, high))
    return found


def _rounded_once(
    clipped: Mapping[int, Range], subgraph: Subgraph, errors: Mapping[int, SquaredError]
) -> dict[int, Range]:
    """With one range at both ends of the ops that then do nothing to positive values, where that has less error."""
    found = dict(clipped)
    for indices in keeping_positive(subgraph):
        if not found.keys() >= {*indices}:  # no float, or empty
            continue
        ends = [found[index] for index in indices]
        low, high = min(one.minimum for one in ends), max(one.maximum for one in ends)
        read, made = (errors[one.tensor] for one in ends)
        of_negative = replace(read, histogram=read.histogram.negative)
        apart = read.of(ends[0].minimum, ends[0].maximum) + made.of(ends[1].minimum, ends[1].maximum)
        if of_negative.of(low, high) + made.of(low, high) < apart:
            found |= {one.tensor: replace(one, minimum=low, maximum=high) for one in ends}
    return found


def _with_headroom(
    clipped: Mapping[int, Range], subgraph: Subgraph, observation: Observation, bits: int
) -> dict[int, Range]:
    widened = dict(clipped)
    for place, index in enumerate(observation.tensors):
        minima, maxima = observation.minima[:, place], observation.maxima[:, place]
        if not clipped[index].is_fixed:
            values = len(minima) * prod(subgraph.tensors[index].shape)
            widened[index] = _widened(clipped[index], (minima, maxima), values, bits)
    return widened


def _widened(found: Range, extremes: tuple[np.ndarray, np.ndarray], values: float, bits: int) -> Range:
    (minima, maxima), minimum, maximum = extremes, found.minimum, found.maximum
    for _ in range(2):
        if found.maximum == found.highest > 0:
            maximum = found.maximum * headroom(maxima, values, max(-minimum, 0.0), bits)
        if found.minimum == found.lowest < 0:
            minimum = found.minimum * headroom(-minima, values, max(maximum, 0.0), bits)
    return replace(found, minimum=minimum, maximum=maximum)


def _agreeing(subgraph: Subgraph, clipped: Mapping[int, Range]) -> dict[int, Range]:
    agreed = dict(clipped)
    for operator in subgraph.operators:
        inputs = [agreed[index] for index in operator.inputs if index in agreed]
        if operator.type in PASSING:
            source = operator.inputs[PASSING[operator.type]]
            inputs = [agreed[source]] if source in agreed else []
        elif operator.type not in JOINING:
            continue
        for output in (agreed[index] for index in operator.outputs if index in agreed and inputs):
            low, high = min(r.minimum for r in inputs), max(r.maximum for r in inputs)
            agreed[output.tensor] = replace(output, minimum=low, maximum=high)
    return agreed
