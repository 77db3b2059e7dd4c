"""Calibration: read and check samples, observe the activations, and select the range of each."""

from __future__ import annotations

from tflq.calibrate.attention_masks import find_masks
from tflq.calibrate.calibration_data import (
    ActivationStatistics,
    CalibrationData,
    RecurrentForm,
    load_calibration_data,
)
from tflq.calibrate.data_checks import (
    MIN_CALLS_FOR_OUTLIERS,
    RangeComparison,
    refuse_infinite,
    refuse_infinite_ranges,
    refuse_unknown_ids,
    wider_by,
)
from tflq.calibrate.histogram import Counts, Histogram, count, count_values, histogram
from tflq.calibrate.loop_ranges import loop_ranges, merge_loops, observe_loops
from tflq.calibrate.lower_masks import LoweredMask, MaskReport, lower_masks
from tflq.calibrate.observe import (
    Observation,
    ObservationShard,
    activations,
    add_min_max_outputs,
    merge,
    observe,
    obstacle,
    shards,
)
from tflq.calibrate.range_selection import SelectedRanges, compute_ranges, select_ranges
from tflq.calibrate.ranges import JOINING, PASSING, Range, RangeMethod
from tflq.calibrate.sample_weights import sample_weights
from tflq.calibrate.samples import KEPT_CALLS, CalibrationSamples, Samples, fingerprint, read_samples
from tflq.calibrate.schema import Calibration, Counting, Method, Percentile, Ranges, SampleCount, Seed

__all__ = [
    "JOINING",
    "KEPT_CALLS",
    "MIN_CALLS_FOR_OUTLIERS",
    "PASSING",
    "ActivationStatistics",
    "Calibration",
    "CalibrationData",
    "CalibrationSamples",
    "Counting",
    "Counts",
    "Histogram",
    "LoweredMask",
    "MaskReport",
    "Method",
    "Observation",
    "ObservationShard",
    "Percentile",
    "Range",
    "RangeComparison",
    "RangeMethod",
    "Ranges",
    "RecurrentForm",
    "SampleCount",
    "Samples",
    "Seed",
    "SelectedRanges",
    "activations",
    "add_min_max_outputs",
    "compute_ranges",
    "count",
    "count_values",
    "find_masks",
    "fingerprint",
    "histogram",
    "load_calibration_data",
    "loop_ranges",
    "lower_masks",
    "merge",
    "merge_loops",
    "observe",
    "observe_loops",
    "obstacle",
    "read_samples",
    "refuse_infinite",
    "refuse_infinite_ranges",
    "refuse_unknown_ids",
    "sample_weights",
    "select_ranges",
    "shards",
    "wider_by",
]
