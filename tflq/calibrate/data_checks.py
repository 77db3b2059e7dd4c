"""What is odd about calibration data, and about what it does inside the model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.calibrate.calibration_data import ActivationStatistics
from tflq.calibrate.histogram import Histogram, SquaredError
from tflq.calibrate.observe import Observation, exposed
from tflq.calibrate.ranges import Range
from tflq.calibrate.samples import CalibrationSamples
from tflq.errors import DatasetError
from tflq.flatbuffer import Graph, load
from tflq.interpreter import Runner
from tflq.worker import ProgressCallback

ALONE = 2.0
"""A sample sets a range alone where the range is more than so many times what it is without that sample."""
MANY = 0.1
"""The part of all activations whose ranges one sample must set alone to be named."""
FEWEST_CALLS = 8
"""With fewer, any sample may stand out."""
MOST = 99.99
"""The percentile that most users of one try first."""
WASTED = 4.0
"""A range is told to be wide where it is more than so many times that of most values."""
LISTED = 10
NO_INTEGER = (
    "no integer stands for that: correct the model or the data, or take dynamic or float16, which need no ranges"
)


def refuse_infinite(
    _: ProgressCallback, float32: Path, calibration_samples: CalibrationSamples, calls: Sequence[int]
) -> None:
    """Raise DatasetError for calls that made an activation NaN or infinite, naming the first such of the first call.

    Returns where none did: the sum behind a mean may overflow though every value is finite.
    """
    run, graph = Runner(exposed(float32, calibration_samples.samples.folder / "exposed.tflite")), load(float32)
    found: list[tuple[int, str]] = []
    for call, arrays in zip(calls, calibration_samples.samples.calls(calls), strict=True):
        answers = {int(name): values for name, values in run(arrays).items()}
        wrong = [index for index in _in_order(graph) if index in answers and not np.isfinite(answers[index]).all()]
        if wrong:
            value = answers[wrong[0]][~np.isfinite(answers[wrong[0]])][0]
            found.append((call, f"{graph.subgraphs[0].tensors[wrong[0]].name!r} inside the model {value}"))
    if found:
        (call, what), per_call = found[0], calibration_samples.samples.per_call
        first = f"{_of_a_call(per_call)}calibration row {_row(calibration_samples, call)} makes the activation {what}"
        raise DatasetError(f"{first}{_others(len(found) - 1, per_call)}; {NO_INTEGER}")


def _of_a_call(per_call: int) -> str:
    """The words before the number of a row that is the first of several samples in one call."""
    return f"a call of {per_call} samples from " if per_call > 1 else ""


def _others(count: int, per_call: int) -> str:
    """Tell of further calls that do the same: each is of one sample, or of several."""
    if count == 0:
        return ""
    noun = "sample" if per_call == 1 else "call"
    return f", as does one other {noun}" if count == 1 else f", as do {count} other {noun}s"


def refuse_infinite_ranges(ranges: Sequence[Range]) -> None:
    """Raise DatasetError for the first that is not finite; TensorFlow's quantizer would die of it."""
    for one in ranges:
        for value in (one.lowest, one.highest):
            if not math.isfinite(value):
                what = f"the activation {one.name!r} inside the model becomes {value} on a calibration sample"
                raise DatasetError(f"{what}; {NO_INTEGER}")


def _in_order(graph: Graph) -> Iterator[int]:
    """The tensors of the first subgraph, as they are made."""
    (subgraph, *_) = graph.subgraphs
    yield from subgraph.inputs
    for operator in subgraph.operators:
        yield from operator.outputs


def _row(calibration_samples: CalibrationSamples, call: int) -> int:
    return calibration_samples.rows[call * calibration_samples.samples.per_call]


def repeats(calibration_samples: CalibrationSamples) -> Iterator[str]:
    """Samples that are the same as another."""
    rows: dict[str, list[int]] = {}
    for row, contents in zip(calibration_samples.rows, calibration_samples.hashes, strict=True):
        rows.setdefault(contents, []).append(row)
    again = [same for same in rows.values() if len(same) > 1]
    if again:
        extra = sum(len(same) - 1 for same in again)
        repeat = "repeats" if extra == 1 else "repeat"
        yield (
            f"{extra} of {len(calibration_samples.rows)} calibration samples {repeat} another one: row"
            f" {again[0][1]} has the values of row {again[0][0]}. It adds nothing to the ranges"
        )


def outlier_samples(observation: Observation, calibration_samples: CalibrationSamples) -> Iterator[str]:
    """Samples each of which alone sets the ranges of many activations."""
    calls, tensors = observation.minima.shape
    if calls < FEWEST_CALLS:
        return
    for call in sorted({*observation.minima.argmin(0).tolist(), *observation.maxima.argmax(0).tolist()}):
        wider = wider_by(observation, call)
        alone = wider[wider > ALONE]
        if len(alone) >= max(2, MANY * tensors):
            many = _of_a_call(calibration_samples.samples.per_call)
            yield (
                f"{many}calibration row {_row(calibration_samples, call)} alone sets the ranges of {len(alone)} of"
                f" {tensors} activations, which are {np.median(alone):.3g} times as wide with it as without."
                " Look at that row; if it is right, ranges: {percentile: 99.99} or mse leaves such values out"
            )


def wider_by(observation: Observation, call: int) -> np.ndarray:
    """For each tensor how many times as wide its range is with that call as without."""
    others = np.arange(len(observation.minima)) != call
    with_it = _width(observation.minima.min(0), observation.maxima.max(0))
    without = _width(observation.minima[others].min(0), observation.maxima[others].max(0))
    return np.asarray(np.where(with_it > 0, with_it / np.maximum(without, np.finfo(np.float32).tiny), 1.0))


def _width(minima: np.ndarray, maxima: np.ndarray) -> np.ndarray:
    """Of ranges that hold 0, as those of integers do."""
    return np.asarray(np.maximum(maxima, 0).astype(np.float64) - np.minimum(minima, 0))


@dataclass(frozen=True)
class RangeComparison:
    """How far an activation's range would be clipped; each part is of the observed range."""

    tensor: str
    lowest: float
    highest: float
    chosen: float
    """The part that the recipe's method keeps, for integers of the fewest bits that a variant has: 8 or 16."""
    percentile: float
    """The part that the 99.99th percentile keeps."""
    mse: float
    """The part with the least mean squared error of integers of so many bits."""


def compare_ranges(observed: ActivationStatistics, chosen: Sequence[Range], bits: int) -> tuple[RangeComparison, ...]:
    """The activations whose ranges are widest beside what most of their values need, the widest first."""
    found = []
    for one in (one for one in chosen if not one.is_fixed):
        histogram = observed.histograms[one.tensor]
        low, high = histogram.percentile(MOST) if len(histogram.counts) else (one.lowest, one.highest)
        found.append((one.part(max(low, one.lowest), min(high, one.highest)), one, histogram))
    found.sort(key=lambda clip: clip[0])
    wide = [clip for clip in found[:LISTED] if clip[0] < 1 / WASTED or clip[1].kept < 1 / WASTED]
    return tuple(
        RangeComparison(one.name, one.lowest, one.highest, one.kept, part, _mse(one, spread, bits))
        for part, one, spread in wide
    )


def _mse(one: Range, histogram: Histogram, bits: int) -> float:
    return one.part(*SquaredError(histogram, bits).least(one.lowest, one.highest))


def wide_ranges(comparisons: Sequence[RangeComparison]) -> Iterator[str]:
    """Whether another method than minmax is worth a trial."""
    wasted = [clip for clip in comparisons if clip.percentile < 1 / WASTED]
    if wasted:
        many = (
            f"{LISTED} activations or more"
            if len(wasted) == LISTED
            else f"{len(wasted)} activation{'s' * (len(wasted) > 1)}"
        )
        yield (
            f"most of the range of {many} is for rare values: {MOST:g} % of the values of {wasted[0].tensor!r}"
            f" lie in {wasted[0].percentile:.2g} of its range; try calibration.ranges: {{percentile: {MOST:g}}} or mse"
        )
