"""Select the range of every activation, and collect warnings and advice about the calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tflq.calibrate.calibration_data import ActivationStatistics, CalibrationData
from tflq.calibrate.data_checks import RangeComparison, compare_ranges, outlier_samples, repeated_samples, wide_ranges
from tflq.calibrate.ranges import Range, RangeMethod
from tflq.calibrate.samples import CalibrationSamples
from tflq.calibrate.schema import Method
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class SelectedRanges:
    """The range of every activation, with warnings and advice."""

    by_bits: Mapping[int, tuple[Range, ...]]
    """The ranges by the number of bits of the activations, 8 or 16."""
    clips: tuple[RangeComparison, ...]
    """The activations whose ranges are mostly for rare values."""
    warnings: tuple[str, ...]
    advice: tuple[str, ...]
    """A suggestion of another method, if one is worth a trial."""
    observation_obstacle: str | None
    """The reason why TensorFlow's calibrator computed the ranges. None if the activations were observed by tflq."""


def select_ranges(
    _: ProgressCallback,
    calibration_data: CalibrationData,
    calibration_samples: CalibrationSamples,
    method: Method,
    bits: Sequence[int],
) -> SelectedRanges:
    """Return the ranges by that method, once for each number of bits of the activations."""
    by_bits = {width: calibration_data.ranges(RangeMethod(method, width)) for width in bits}
    statistics = calibration_data.statistics
    fewest = min(bits)
    comparisons: tuple[RangeComparison, ...] = ()
    if isinstance(statistics, ActivationStatistics):
        outside = [range_ for range_ in by_bits[fewest] if range_.subgraph == 0]
        comparisons = compare_ranges(statistics, outside, fewest)
    return SelectedRanges(
        by_bits,
        comparisons,
        tuple(_warnings(calibration_data, calibration_samples)),
        tuple(wide_ranges(comparisons) if method == "minmax" else ()),
        calibration_data.observation_obstacle,
    )


def compute_ranges(_: ProgressCallback, calibration_data: CalibrationData, method: RangeMethod) -> tuple[Range, ...]:
    """Return the ranges by that method."""
    return calibration_data.ranges(method)


def _warnings(calibration_data: CalibrationData, calibration_samples: CalibrationSamples) -> Iterator[str]:
    if calibration_data.masks:
        yield calibration_data.masks.in_words
    if calibration_data.recurrent:
        yield calibration_data.recurrent.in_words
    yield from repeated_samples(calibration_samples)
    if isinstance(calibration_data.statistics, ActivationStatistics):
        yield from outlier_samples(calibration_data.statistics.observation, calibration_samples)
