"""The intermediate results of refinement, which are kept until the end of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tflq.calibrate.calibration_data import CalibrationData
from tflq.calibrate.ranges import Range, RangeMethod
from tflq.calibrate.schema import Counting
from tflq.refine import HoldoutSamples, LayerStatistics, RefinementRequest, RewrittenModel, WeightGranularity
from tflq.stages.activation_ranges import CountedCalibration

Calls = tuple[int, ...]
"""The indices of calls, in increasing order."""


@dataclass(frozen=True)
class RefinementWork:
    """The intermediate results of one float32 file and its calibration samples, shared by all variants."""

    statistics: dict[Calls, tuple[LayerStatistics, ...]] = field(default_factory=dict)
    """The statistics of the layers' inputs in the float32 file, by the calls that they are fitted to."""
    rewritten: dict[tuple[Path, str, Calls], RewrittenModel] = field(default_factory=dict)
    """The files after a correction of the whole model, by the file before, its key, and the calls of the fit."""
    observed: dict[tuple[Path, Counting], CalibrationData] = field(default_factory=dict)
    """The statistics of the activations over all calls, by the file and the way of counting values."""
    counted: dict[Path, CountedCalibration] = field(default_factory=dict)
    """The statistics with counts of values, by the file."""
    layer_fits: dict[tuple[str, Path, Calls, WeightGranularity], tuple[Path, ...]] = field(default_factory=dict)
    """The fitted values of layers, such as weights by GPTQ, by the key of the correction and what it is fitted to."""
    ranges: dict[tuple[Path, RangeMethod, Calls], tuple[Range, ...]] = field(default_factory=dict)
    """The ranges that need counts of values, by the file, the method, and the calls that they cover."""
    templates: dict[tuple[RefinementRequest, Path], Path] = field(default_factory=dict)
    """The folder of the first quantized file without corrections, by the request and the float32 file."""
    holdout: dict[Calls, HoldoutSamples] = field(default_factory=dict)
    """The hold-out samples, with the outputs of the float32 file, by their calls."""
