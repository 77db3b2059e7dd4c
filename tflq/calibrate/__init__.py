"""What calibration yields: samples, checked; the range of every activation; what is odd about either."""

from __future__ import annotations

from tflq.calibrate.calibrated import Calibrated, Observed, restored
from tflq.calibrate.choose import Chosen, choose
from tflq.calibrate.histogram import Counts, Histogram, count, histogram
from tflq.calibrate.lint import FEWEST_CALLS, Clip, refuse_infinite, refuse_infinite_ranges, wider_by
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
from tflq.calibrate.ranges import JOINING, PASSING, Range, Span
from tflq.calibrate.samples import Gathered, Samples, fingerprint, gather
from tflq.calibrate.section import Calibration, Counting, Method, Percentile, Ranges, SampleCount, Seed
from tflq.calibrate.weights import weights

__all__ = [
    "CONTROL_FLOW",
    "FEWEST_CALLS",
    "JOINING",
    "PASSING",
    "Calibrated",
    "Calibration",
    "Chosen",
    "Clip",
    "Counting",
    "Counts",
    "Gathered",
    "Histogram",
    "Method",
    "Observation",
    "Observed",
    "Part",
    "Percentile",
    "Range",
    "Ranges",
    "SampleCount",
    "Samples",
    "Seed",
    "Span",
    "activations",
    "choose",
    "count",
    "fingerprint",
    "gather",
    "histogram",
    "merge",
    "observable",
    "observe",
    "obstacle",
    "refuse_infinite",
    "refuse_infinite_ranges",
    "restored",
    "shards",
    "weights",
    "wider_by",
]
