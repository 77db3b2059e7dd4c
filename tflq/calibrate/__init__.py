"""What calibration yields: samples, checked; the range of every activation; what is odd about either."""

from __future__ import annotations

from tflq.calibrate.calibration_data import ActivationStatistics, CalibrationData, load_calibration_data
from tflq.calibrate.data_checks import FEWEST_CALLS, RangeComparison, refuse_infinite, refuse_infinite_ranges, wider_by
from tflq.calibrate.histogram import Counts, Histogram, count, histogram
from tflq.calibrate.observe import (
    CONTROL_FLOW,
    Observation,
    Part,
    activations,
    merge,
    observable,
    observe,
    obstacle,
    shards,
)
from tflq.calibrate.ranges import JOINING, PASSING, Range, RangeMethod
from tflq.calibrate.sample_weights import sample_weights
from tflq.calibrate.samples import CalibrationSamples, Samples, fingerprint, read_samples
from tflq.calibrate.schema import Calibration, Counting, Method, Percentile, Ranges, SampleCount, Seed
from tflq.calibrate.select_ranges import SelectedRanges, select_ranges

__all__ = [
    "CONTROL_FLOW",
    "FEWEST_CALLS",
    "JOINING",
    "PASSING",
    "ActivationStatistics",
    "Calibration",
    "CalibrationData",
    "CalibrationSamples",
    "Counting",
    "Counts",
    "Histogram",
    "Method",
    "Observation",
    "Part",
    "Percentile",
    "Range",
    "RangeComparison",
    "RangeMethod",
    "Ranges",
    "SampleCount",
    "Samples",
    "Seed",
    "SelectedRanges",
    "activations",
    "count",
    "fingerprint",
    "histogram",
    "load_calibration_data",
    "merge",
    "observable",
    "observe",
    "obstacle",
    "read_samples",
    "refuse_infinite",
    "refuse_infinite_ranges",
    "sample_weights",
    "select_ranges",
    "shards",
    "wider_by",
]
