"""Causes of the loss at an op: the calibration range of its output, its weights, and the inputs that it joins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tflq.calibrate.calibration_data import ActivationStatistics
from tflq.calibrate.data_checks import MIN_CALLS_FOR_OUTLIERS, wider_by
from tflq.calibrate.ranges import Range
from tflq.calibrate.samples import CalibrationSamples
from tflq.flatbuffer import ROLES, Graph, Operator, Tensor
from tflq.layerwise import JOINS, WIDTH_RATIO, unlike_channels, unlike_inputs
from tflq.modes import Mode

Kind = Literal["sample", "outliers", "weights", "concat", "channels", "steps"]
ONE_SAMPLE_FACTOR = 2.0
"""Report a sample if it alone makes the range more than this many times as wide."""
PERCENTILE = 99.99
"""Values beyond this percentile are rare."""
RARE_PART = 0.25
"""Report rare values if all others lie in less than this part of the range."""
MIN_STEPS = 16
"""Report an output with a fixed scale if it uses fewer steps than this."""


@dataclass(frozen=True)
class Cause:
    """A reason for the loss at an op."""

    kind: Kind
    said: str
    """The cause as a sentence with its numbers."""
    factor: float
    """The strength of the cause: how many times too wide or too large something is."""


@dataclass(frozen=True)
class CauseEvidence:
    """What the causes of one variant are derived from."""

    graph: Graph
    variant: Mode
    ranges: Mapping[int, Range]
    """The range that the integers of each tensor of the main graph cover."""
    observed: ActivationStatistics | None
    """The activation statistics; None if TensorFlow's calibrator found the ranges."""
    calibration_samples: CalibrationSamples
    peaks: Mapping[int, tuple[float, ...]]
    """The largest magnitude in each channel, by activation."""


def causes(evidence: CauseEvidence, operator: Operator) -> tuple[Cause, ...]:
    """Return the causes at an op of the main graph, the likeliest kind first."""
    reasons = [*_of_join(evidence, operator), *_of_weights(evidence, operator)]
    for index in operator.outputs:
        reasons += of_activation(evidence, index)
    return tuple(reasons)


def of_activation(evidence: CauseEvidence, index: int) -> list[Cause]:
    """Return the causes at one tensor of the main graph."""
    span = evidence.ranges.get(index)
    if span is None:
        return []
    if span.is_fixed:
        return list(_of_steps(evidence, span))
    is_clipped = span.kept < 1 / ONE_SAMPLE_FACTOR
    reasons = [] if is_clipped else [*_of_sample(evidence, index), *_of_outliers(evidence, span)]
    return [*reasons, *_of_channels(evidence.peaks.get(index, ()))]


def _of_sample(evidence: CauseEvidence, index: int) -> Iterator[Cause]:
    if evidence.observed is None or len(evidence.observed.observation.minima) < MIN_CALLS_FOR_OUTLIERS:
        return
    observation = evidence.observed.observation
    column = observation.tensors.index(index)
    calls = {int(observation.minima[:, column].argmin()), int(observation.maxima[:, column].argmax())}
    wider = {call: float(wider_by(observation, call)[column]) for call in sorted(calls)}
    call, factor = max(wider.items(), key=lambda item: item[1])
    if factor > ONE_SAMPLE_FACTOR:
        row = evidence.calibration_samples.rows[call * evidence.calibration_samples.samples.per_call]
        text = f"calibration row {row} alone sets its range, which is {factor:.3g} times as wide as without that row"
        yield Cause("sample", text, factor)


def _of_outliers(evidence: CauseEvidence, span: Range) -> Iterator[Cause]:
    histogram = evidence.observed.histograms[span.tensor] if evidence.observed else None
    if histogram is None or not len(histogram.counts):
        return
    low, high = histogram.percentile(PERCENTILE)
    part = span.share(max(low, span.lowest), min(high, span.highest))
    if part < RARE_PART:
        text = f"rare values set its range: {PERCENTILE:g} % of all values lie in {part:.2g} of it"
        yield Cause("outliers", text, 1 / max(part, 1e-9))


def _of_channels(peaks: tuple[float, ...]) -> Iterator[Cause]:
    """Compare the channels of one activation, which all share one scale."""
    found = unlike_channels(peaks)
    if found:
        yield Cause("channels", *found)


def _of_steps(evidence: CauseEvidence, span: Range) -> Iterator[Cause]:
    bits = evidence.variant.activation_bits
    parts = 2**bits if bits == 8 and span.lowest >= 0 else 2 ** (bits - 1)
    largest = max(span.highest, -span.lowest)
    if 0 < largest < MIN_STEPS / parts:
        text = f"its integers have fixed steps of at least 1/{parts}, but its largest value is {largest:.2g}"
        yield Cause("steps", text, MIN_STEPS / parts / largest)


def _of_join(evidence: CauseEvidence, operator: Operator) -> Iterator[Cause]:
    """Find inputs of unlike ranges that an op joins under one scale: at that op, and at the ops that write them."""
    if operator.type in JOINS:
        spans = [evidence.ranges[index] for index in dict.fromkeys(operator.inputs) if index in evidence.ranges]
        found = unlike_inputs([*map(_width, spans)], [*map(_in_words, spans)])
        if found:
            yield Cause("concat", *found)
    for other in evidence.graph.subgraphs[0].operators:
        if other.type in JOINS and {*operator.outputs} & {*other.inputs}:
            yield from _of_joined_input(evidence, operator, other)


def _of_joined_input(evidence: CauseEvidence, operator: Operator, join: Operator) -> Iterator[Cause]:
    own = [evidence.ranges[index] for index in operator.outputs if index in evidence.ranges and index in join.inputs]
    joined = [evidence.ranges[index] for index in join.outputs if index in evidence.ranges]
    factor = max(map(_width, joined), default=0.0) / max(max(map(_width, own), default=0.0), 1e-30)
    if own and factor > WIDTH_RATIO:
        text = f"its output takes the scale of #{join.index} {join.type}, whose range is {factor:.3g} times as wide"
        yield Cause("concat", text, factor)


def _width(span: Range) -> float:
    return max(span.maximum, 0.0) - min(span.minimum, 0.0)


def _in_words(span: Range) -> str:
    return f"{span.name.split(';')[0]!r} from {span.minimum:.3g} to {span.maximum:.3g}"


def _of_weights(evidence: CauseEvidence, operator: Operator) -> Iterator[Cause]:
    """Compare the channels of an op's weights if they all share one scale."""
    variant, roles = evidence.variant, ROLES.get(operator.type)
    has_own_scales = variant.per_channel and (variant.per_channel_dense or operator.type != "FULLY_CONNECTED")
    weights = evidence.graph.subgraphs[0].input(operator, roles.weights) if roles else None
    if roles is None or has_own_scales or weights is None or not weights.is_constant:
        return
    factor = _spread_over_channels(weights, roles.channels)
    if factor > WIDTH_RATIO:
        key = "per_channel" if not variant.per_channel else "per_channel_dense"
        text = (
            f"the channels of its weights share one scale, but the largest is {factor:.3g} times as large as the median"
        )
        yield Cause("weights", f"{text}; {key}: true gives each channel its own scale", factor)


def _spread_over_channels(weights: Tensor, axis: int) -> float:
    peaks = np.abs(np.moveaxis(np.asarray(weights.data), axis, 0)).reshape(weights.shape[axis], -1).max(1)
    positive = peaks[peaks > 0]
    return float(positive.max() / np.median(positive)) if len(positive) else 1.0
