"""The ranges that every variant is quantized with, and what there is to say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tflq.calibrate.calibration_data import ActivationStatistics, CalibrationData
from tflq.calibrate.data_checks import RangeComparison, compare_ranges, outlier_samples, repeats, wide_ranges
from tflq.calibrate.ranges import Range, RangeMethod
from tflq.calibrate.samples import CalibrationSamples
from tflq.calibrate.schema import Method
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class SelectedRanges:
    """The range of every activation, and how it was found."""

    by_bits: Mapping[int, tuple[Range, ...]]
    """For activations of 8 bits, and of 16."""
    clips: tuple[RangeComparison, ...]
    warnings: tuple[str, ...]
    advice: tuple[str, ...]
    """Whether another method is worth a trial."""
    observation_obstacle: str | None
    """Why TensorFlow's calibrator had to find them; None where the activations were observed from within."""


def select_ranges(
    _: ProgressCallback,
    calibration_data: CalibrationData,
    calibration_samples: CalibrationSamples,
    method: Method,
    bits: Sequence[int],
) -> SelectedRanges:
    """The ranges by that method, for activations of each of so many bits."""
    by_bits = {width: calibration_data.ranges(RangeMethod(method, width)) for width in bits}
    found = calibration_data.found
    fewest = min(bits)
    clipped = compare_ranges(found, by_bits[fewest], fewest) if isinstance(found, ActivationStatistics) else ()
    advice = wide_ranges(clipped) if method == "minmax" else ()
    return SelectedRanges(
        by_bits,
        clipped,
        tuple(_warnings(calibration_data, calibration_samples)),
        tuple(advice),
        calibration_data.observation_obstacle,
    )


def _warnings(calibration_data: CalibrationData, calibration_samples: CalibrationSamples) -> Iterator[str]:
    yield from repeats(calibration_samples)
    if isinstance(calibration_data.found, ActivationStatistics):
        yield from outlier_samples(calibration_data.found.observation, calibration_samples)
