"""Checks of the calibration samples, and of the activations and ranges that result from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.calibrate.calibration_data import ActivationStatistics
from tflq.calibrate.histogram import Histogram, SquaredError
from tflq.calibrate.observe import Observation, with_activation_outputs
from tflq.calibrate.ranges import Range
from tflq.calibrate.samples import CalibrationSamples
from tflq.errors import DatasetError
from tflq.flatbuffer import Graph, load
from tflq.id_tables import IdCheck
from tflq.inputs.schema import Input
from tflq.interpreter import Runner
from tflq.worker import ProgressCallback

OUTLIER_WIDENING = 2.0
"""One call sets a range alone if the range is more than this many times as wide with it as without it."""
OUTLIER_MIN_SHARE = 0.1
"""A warning names a call if it sets at least this share of all ranges alone."""
MIN_CALLS_FOR_OUTLIERS = 8
"""With fewer calls, any call may widen the ranges by chance."""
TYPICAL_PERCENTILE = 99.99
"""The percentile that ranges are compared with. It is the usual first choice."""
MAX_WIDTH_RATIO = 4.0
"""A range is reported as wide if it is more than this many times as wide as the range of the usual percentile."""
MAX_COMPARISONS = 10
"""The number of activations that a report lists at most."""
NO_INTEGER = (
    "no integer can represent that value. Correct the model or the data, or use mode dynamic or float16, which need no"
    " ranges"
)


def refuse_infinite(
    _: ProgressCallback, float32: Path, calibration_samples: CalibrationSamples, calls: Sequence[int]
) -> None:
    """Raise DatasetError if one of the calls makes an activation NaN or infinite. The message names the first one.

    Return if no activation is: the sum of a mean may overflow although every value is finite.
    """
    run, graph = Runner(with_activation_outputs(float32, calibration_samples.samples.folder)), load(float32)
    failures: list[tuple[int, str]] = []
    for call, arrays in zip(calls, calibration_samples.samples.calls(calls), strict=True):
        answers = {int(name): values for name, values in run(arrays).items()}
        infinite = [i for i in _in_order(graph) if i in answers and not np.isfinite(answers[i]).all()]
        if infinite:
            value = answers[infinite[0]][~np.isfinite(answers[infinite[0]])][0]
            failures.append((call, f"{graph.subgraphs[0].tensors[infinite[0]].name!r} inside the model {value}"))
    if failures:
        (call, what), per_call = failures[0], calibration_samples.samples.per_call
        first = f"{_call_prefix(per_call)}calibration row {_row(calibration_samples, call)} makes the activation {what}"
        raise DatasetError(f"{first}{_other_calls(len(failures) - 1, per_call)}; {NO_INTEGER}")


def refuse_unknown_ids(
    report: ProgressCallback,
    float32: Path,
    calibration_samples: CalibrationSamples,
    inputs: Mapping[str, Input],
    dataset: object,
) -> None:
    """Raise DatasetError for the first sample with an id for which a table of the model has no row."""
    check, samples = IdCheck(float32, inputs), calibration_samples.samples
    for call, arrays in enumerate(samples.calls(range(samples.number_of_calls))):
        first = call * samples.per_call
        check.refuse(arrays, calibration_samples.rows[first : first + samples.per_call], dataset)
        report(call + 1, samples.number_of_calls)


def _call_prefix(per_call: int) -> str:
    """Return the words before a row number if that row is the first of several samples in one call."""
    return f"a call of {per_call} samples from " if per_call > 1 else ""


def _other_calls(count: int, per_call: int) -> str:
    """Return a clause about further calls that do the same. A call of one sample is called a sample."""
    if count == 0:
        return ""
    noun = "sample" if per_call == 1 else "call"
    return f", as does one other {noun}" if count == 1 else f", as do {count} other {noun}s"


def refuse_infinite_ranges(ranges: Sequence[Range]) -> None:
    """Raise DatasetError for the first range that is not finite. TensorFlow's quantizer would crash on it."""
    for range_ in ranges:
        for value in (range_.lowest, range_.highest):
            if not math.isfinite(value):
                what = f"the activation {range_.name!r} inside the model becomes {value} on a calibration sample"
                raise DatasetError(f"{what}; {NO_INTEGER}")


def _in_order(graph: Graph) -> Iterator[int]:
    """Yield the tensors of the first subgraph in the order in which they are computed."""
    (subgraph, *_) = graph.subgraphs
    yield from subgraph.inputs
    for operator in subgraph.operators:
        yield from operator.outputs


def _row(calibration_samples: CalibrationSamples, call: int) -> int:
    return calibration_samples.rows[call * calibration_samples.samples.per_call]


def repeated_samples(calibration_samples: CalibrationSamples) -> Iterator[str]:
    """Yield a warning if samples have the same values as another one."""
    rows: dict[str, list[int]] = {}
    for row, contents in zip(calibration_samples.rows, calibration_samples.hashes, strict=True):
        rows.setdefault(contents, []).append(row)
    repeated = [equal for equal in rows.values() if len(equal) > 1]
    if repeated:
        extra = sum(len(equal) - 1 for equal in repeated)
        repeat = "repeats" if extra == 1 else "repeat"
        yield (
            f"{extra} of {len(calibration_samples.rows)} calibration samples {repeat} another one: row"
            f" {repeated[0][1]} has the values of row {repeated[0][0]}. It adds nothing to the ranges"
        )


def outlier_samples(observation: Observation, calibration_samples: CalibrationSamples) -> Iterator[str]:
    """Yield a warning for each call that alone sets the ranges of many activations."""
    calls, tensors = observation.minima.shape
    if calls < MIN_CALLS_FOR_OUTLIERS:
        return
    for call in sorted({*observation.minima.argmin(0).tolist(), *observation.maxima.argmax(0).tolist()}):
        factors = wider_by(observation, call)
        factors = factors[factors > OUTLIER_WIDENING]
        if len(factors) >= max(2, OUTLIER_MIN_SHARE * tensors):
            prefix = _call_prefix(calibration_samples.samples.per_call)
            yield (
                f"{prefix}calibration row {_row(calibration_samples, call)} alone sets the ranges of {len(factors)} of"
                f" {tensors} activations, which are {np.median(factors):.3g} times as wide with it as without it."
                " Check that row. If it is right, set calibration.ranges to {percentile: 99.99} or mse, which clip such"
                " values"
            )


def wider_by(observation: Observation, call: int) -> np.ndarray:
    """Return for each tensor how many times as wide its range is with that call as without it, float64 [tensors]."""
    others = np.arange(len(observation.minima)) != call
    with_it = _width(observation.minima.min(0), observation.maxima.max(0))
    without = _width(observation.minima[others].min(0), observation.maxima[others].max(0))
    return np.asarray(np.where(with_it > 0, with_it / np.maximum(without, np.finfo(np.float32).tiny), 1.0))


def _width(minima: np.ndarray, maxima: np.ndarray) -> np.ndarray:
    """Return the widths of the ranges after they are widened to contain 0, as integer ranges do."""
    return np.asarray(np.maximum(maxima, 0).astype(np.float64) - np.minimum(minima, 0))


@dataclass(frozen=True)
class RangeComparison:
    """The ranges of one activation by several methods, as shares of the observed range."""

    tensor: str
    lowest: float
    highest: float
    chosen: float
    """The share by the recipe's method, for the smallest number of bits of all variants: 8 or 16."""
    percentile: float
    """The share by the 99.99th percentile."""
    mse: float
    """The share with the least mean squared error of integers with that many bits."""


def compare_ranges(
    statistics: ActivationStatistics, selected: Sequence[Range], bits: int
) -> tuple[RangeComparison, ...]:
    """Return the activations whose ranges are much wider than most of their values need, the widest first."""
    candidates = []
    for range_ in (range_ for range_ in selected if not range_.is_fixed):
        histogram = statistics.histograms[range_.tensor]
        ends = range_.lowest, range_.highest
        low, high = histogram.percentile(TYPICAL_PERCENTILE) if len(histogram.counts) else ends
        candidates.append((range_.share(max(low, range_.lowest), min(high, range_.highest)), range_, histogram))
    candidates.sort(key=lambda candidate: candidate[0])
    limit = 1 / MAX_WIDTH_RATIO
    return tuple(
        RangeComparison(range_.name, range_.lowest, range_.highest, range_.kept, share, _mse(range_, histogram, bits))
        for share, range_, histogram in candidates[:MAX_COMPARISONS]
        if share < limit or range_.kept < limit
    )


def _mse(range_: Range, histogram: Histogram, bits: int) -> float:
    return range_.share(*SquaredError(histogram, bits).least(range_.lowest, range_.highest))


def wide_ranges(comparisons: Sequence[RangeComparison]) -> Iterator[str]:
    """Yield advice to use another method than minmax if rare values take most of a range."""
    wide = [comparison for comparison in comparisons if comparison.percentile < 1 / MAX_WIDTH_RATIO]
    if wide:
        number = (
            f"{MAX_COMPARISONS} activations or more"
            if len(wide) == MAX_COMPARISONS
            else f"{len(wide)} activation{'s' * (len(wide) > 1)}"
        )
        yield (
            f"most of the range of {number} is for rare values: {TYPICAL_PERCENTILE:g} % of the values of"
            f" {wide[0].tensor!r} lie in {wide[0].percentile:.2g} of its range. Set calibration.ranges to"
            f" {{percentile: {TYPICAL_PERCENTILE:g}}} or mse"
        )
