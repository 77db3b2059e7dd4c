"""Why integers lose much at an op: what calibration saw of its output, what its weights are, what it joins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tflq.calibrate import MIN_CALLS_FOR_OUTLIERS, ActivationStatistics, CalibrationSamples, Range, wider_by
from tflq.flatbuffer import ROLES, Graph, Operator, Tensor
from tflq.modes import Mode

Kind = Literal["sample", "outliers", "weights", "concat", "channels", "steps"]
ALONE = 2.0
"""One sample makes the range so many times as wide."""
MOST = 99.99
"""Percent of the values that count as most."""
RARE = 0.25
"""Most values lie in this part of the range, or less."""
UNLIKE = 8.0
"""Ranges, or channels, that are so many times as wide as others of the same scale."""
JOINS = {"CONCATENATION", "PACK", "MAXIMUM", "MINIMUM"}
STEPS = 16
"""An output of so few steps of its scale has little to say."""


@dataclass(frozen=True)
class Cause:
    kind: Kind
    said: str
    factor: float
    """How strong it is: how many times as wide, or as large, something is as it need be."""


@dataclass(frozen=True)
class CauseEvidence:
    graph: Graph
    variant: Mode
    ranges: Mapping[int, Range]
    """What the integers of each tensor of the main graph span."""
    observed: ActivationStatistics | None
    """None where TensorFlow's calibrator found the ranges."""
    calibration_samples: CalibrationSamples
    peaks: Mapping[int, tuple[float, ...]]
    """The largest magnitude in each channel of each activation."""


def causes(evidence: CauseEvidence, operator: Operator) -> tuple[Cause, ...]:
    """Of that op of the main graph, the strongest of each kind, the likeliest kind first."""
    found = [*_of_join(evidence, operator), *_of_weights(evidence, operator)]
    for index in operator.outputs:
        found += of_activation(evidence, index)
    return tuple(found)


def of_activation(evidence: CauseEvidence, index: int) -> list[Cause]:
    """Of one tensor."""
    given = evidence.ranges.get(index)
    if given is None:
        return []
    if given.is_fixed:
        return list(_of_steps(evidence, given))
    is_clipped = given.kept < 1 / ALONE
    found = [] if is_clipped else [*_of_sample(evidence, index), *_of_outliers(evidence, given)]
    return [*found, *_of_channels(evidence.peaks.get(index, ()))]


def _of_sample(evidence: CauseEvidence, index: int) -> Iterator[Cause]:
    if evidence.observed is None or len(evidence.observed.observation.minima) < MIN_CALLS_FOR_OUTLIERS:
        return
    observation = evidence.observed.observation
    column = observation.tensors.index(index)
    calls = {int(observation.minima[:, column].argmin()), int(observation.maxima[:, column].argmax())}
    wider = {call: float(wider_by(observation, call)[column]) for call in sorted(calls)}
    call, factor = max(wider.items(), key=lambda item: item[1])
    if factor > ALONE:
        row = evidence.calibration_samples.rows[call * evidence.calibration_samples.samples.per_call]
        said = f"its range is set by calibration row {row} alone: with it {factor:.3g} times as wide"
        yield Cause("sample", f"{said} as without", factor)


def _of_outliers(evidence: CauseEvidence, given: Range) -> Iterator[Cause]:
    histogram = evidence.observed.histograms[given.tensor] if evidence.observed else None
    if histogram is None or not len(histogram.counts):
        return
    low, high = histogram.percentile(MOST)
    part = given.share(max(low, given.lowest), min(high, given.highest))
    if part < RARE:
        said = f"rare values set its range: {MOST:g} % of all lie in {part:.2g} of it"
        yield Cause("outliers", said, 1 / max(part, 1e-9))


def _of_channels(peaks: tuple[float, ...]) -> Iterator[Cause]:
    """Of one activation, which has one scale."""
    some = np.array([peak for peak in peaks if peak > 0])
    factor = float(some.max() / np.median(some)) if len(some) > 2 else 1.0
    if factor > UNLIKE:
        said = f"its channels differ {factor:.3g}-fold and share one scale: the largest beside the median"
        yield Cause("channels", said, factor)


def _of_steps(evidence: CauseEvidence, given: Range) -> Iterator[Cause]:
    bits = evidence.variant.activation_bits
    parts = 2**bits if bits == 8 and given.lowest >= 0 else 2 ** (bits - 1)
    largest = max(given.highest, -given.lowest)
    if 0 < largest < STEPS / parts:
        said = f"its integers have fixed steps of 1/{parts} or more, and it answers {largest:.2g} at most"
        yield Cause("steps", said, STEPS / parts / largest)


def _of_join(evidence: CauseEvidence, operator: Operator) -> Iterator[Cause]:
    """What an op joins has one scale: that op, and those that make what it joins."""
    if operator.type in JOINS:
        some = [evidence.ranges[index] for index in dict.fromkeys(operator.inputs) if index in evidence.ranges]
        narrow, wide = (choose(some, key=_width, default=None) for choose in (min, max))
        if narrow and wide and (factor := _width(wide) / max(_width(narrow), 1e-30)) > UNLIKE:
            said = f"it gives one scale to ranges that differ {factor:.3g}-fold: {_told(narrow)} and {_told(wide)}"
            yield Cause("concat", said, factor)
    for other in evidence.graph.subgraphs[0].operators:
        if other.type in JOINS and {*operator.outputs} & {*other.inputs}:
            yield from _of_part(evidence, operator, other)


def _of_part(evidence: CauseEvidence, operator: Operator, join: Operator) -> Iterator[Cause]:
    own = [evidence.ranges[index] for index in operator.outputs if index in evidence.ranges and index in join.inputs]
    joined = [evidence.ranges[index] for index in join.outputs if index in evidence.ranges]
    factor = max(map(_width, joined), default=0.0) / max(max(map(_width, own), default=0.0), 1e-30)
    if own and factor > UNLIKE:
        said = f"its output takes the scale of #{join.index} {join.type}, whose range is {factor:.3g} times as wide"
        yield Cause("concat", said, factor)


def _width(one: Range) -> float:
    return max(one.maximum, 0.0) - min(one.minimum, 0.0)


def _told(one: Range) -> str:
    return f"{one.name.split(';')[0]!r} from {one.minimum:.3g} to {one.maximum:.3g}"


def _of_weights(evidence: CauseEvidence, operator: Operator) -> Iterator[Cause]:
    """Where all channels of its weights have one scale."""
    variant, roles = evidence.variant, ROLES.get(operator.type)
    is_apart = variant.per_channel and (variant.per_channel_dense or operator.type != "FULLY_CONNECTED")
    weights = evidence.graph.subgraphs[0].input(operator, roles.weights) if roles else None
    if roles is None or is_apart or weights is None or not weights.is_constant:
        return
    factor = _spread_over_channels(weights, roles.channels)
    if factor > UNLIKE:
        key = "per_channel" if not variant.per_channel else "per_channel_dense"
        said = (
            f"the channels of its weights differ {factor:.3g}-fold and share one scale: the largest beside the median"
        )
        yield Cause("weights", f"{said}; {key}: true gives each its own", factor)


def _spread_over_channels(weights: Tensor, axis: int) -> float:
    peaks = np.abs(np.moveaxis(np.asarray(weights.data), axis, 0)).reshape(weights.shape[axis], -1).max(1)
    some = peaks[peaks > 0]
    return float(some.max() / np.median(some)) if len(some) else 1.0
