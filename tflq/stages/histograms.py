"""The histograms that the report shows: those of the activations whose ranges are mostly for rare values."""

from __future__ import annotations

import numpy as np

from tflq.calibrate.calibration_data import ActivationStatistics
from tflq.calibrate.histogram import Histogram
from tflq.calibrate.ranges import Range
from tflq.errors import TflqError
from tflq.result import ActivationHistogram
from tflq.stages.state import CalibrationResult

MAX_HISTOGRAMS = 6
BINS = 48
USUAL_PERCENT = 99.95
"""The percentile at either end of the middle 99.9 %."""


def histograms(calibration: CalibrationResult | TflqError | None) -> tuple[ActivationHistogram, ...]:
    """Return the histograms, the widest range for its usual values first; none if activations were not counted."""
    if not isinstance(calibration, CalibrationResult) or not calibration.selected_ranges:
        return ()
    data = calibration.calibration_data
    if data is None or not isinstance(data.statistics, ActivationStatistics):
        return ()
    by_bits = calibration.selected_ranges.by_bits
    found = [
        _histogram(range_, counted)
        for range_ in by_bits[min(by_bits)]
        if (counted := data.statistics.histograms.get(range_.tensor)) is not None and len(counted.counts) > 1
        if range_.subgraph == 0 and not range_.is_fixed and range_.highest > range_.lowest
    ]
    different = {(each.edges, each.shares): each for each in reversed(found)}  # a RESHAPE changes no value
    return tuple(sorted(different.values(), key=_narrowness)[:MAX_HISTOGRAMS])


def _narrowness(each: ActivationHistogram) -> tuple[float, str]:
    """Return the part of the range that usual values take."""
    low, high = each.usual
    return (high - low) / ((each.maximum - each.minimum) or 1.0), each.tensor


def _histogram(range_: Range, counted: Histogram) -> ActivationHistogram:
    places = np.column_stack([counted.lows, counted.highs]).reshape(-1)
    after = counted.counts.cumsum()
    sums = np.column_stack([after - counted.counts, after]).reshape(-1) / after[-1]
    edges = np.linspace(min(range_.lowest, places[0]), max(range_.highest, places[-1]), BINS + 1)
    below, above = np.interp([range_.minimum, range_.maximum], places, sums).tolist()
    return ActivationHistogram(
        range_.name,
        tuple(edges.tolist()),
        tuple(np.diff(np.interp(edges, places, sums)).tolist()),
        range_.minimum,
        range_.maximum,
        below * (range_.minimum > range_.lowest) + (1 - above) * (range_.maximum < range_.highest),
        counted.percentile(USUAL_PERCENT),
    )
