"""The intermediate results of refinement, which are kept until the end of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tflq.calibrate import CalibrationData, Counting, Range, RangeMethod
from tflq.refine import EqualizedModel, HoldoutSamples, WeightGranularity
from tflq.stages.activation_ranges import CountedCalibration

Calls = tuple[int, ...]
"""The indices of calls, in increasing order."""


@dataclass(frozen=True)
class RefinementWork:
    """The intermediate results of one float32 file and its calibration samples, shared by all variants."""

    means: dict[Calls, tuple[Path, ...]] = field(default_factory=dict)
    """The means of the layers' inputs in the float32 file, by the calls that they are fitted to."""
    equalized: dict[Calls, EqualizedModel] = field(default_factory=dict)
    """The equalized files, by the calls that they are fitted to."""
    observed: dict[tuple[Path, Counting], CalibrationData] = field(default_factory=dict)
    """The statistics of the activations over all calls, by the file and the way of counting values."""
    counted: dict[Path, CountedCalibration] = field(default_factory=dict)
    """The statistics with counts of values, by the file."""
    rounded: dict[tuple[Path, Calls, WeightGranularity], tuple[Path, ...]] = field(default_factory=dict)
    """The weights rounded by GPTQ, by the file, the calls and the granularity."""
    ranges: dict[tuple[Path, RangeMethod, Calls], tuple[Range, ...]] = field(default_factory=dict)
    """The ranges that need counts of values, by the file, the method, and the calls that they cover."""
    holdout: dict[Calls, HoldoutSamples] = field(default_factory=dict)
    """The hold-out samples, with the outputs of the float32 file, by their calls."""
