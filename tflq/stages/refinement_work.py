"""The intermediate models of refinement, which are kept until the end of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tflq.calibrate import CalibrationData, Counting
from tflq.refine import CorrectedModel, CorrectionFlags, WeightGranularity
from tflq.stages.activation_ranges import SplitCalibration


@dataclass(frozen=True)
class RefinementWork:
    """The intermediate models of one float32 file and its calibration samples, shared by all variants."""

    equalized: dict[Counting, CalibrationData] = field(default_factory=dict)
    """The statistics of the equalized model, by the way of counting values."""
    corrected: dict[tuple[Path, WeightGranularity, CorrectionFlags], CorrectedModel] = field(default_factory=dict)
    """The corrected models, by the file whose layers were corrected, the granularity and the corrections."""
    split_calibration: dict[Path, SplitCalibration] = field(default_factory=dict)
    """The statistics of all calls and of the fitting calls, by the file that was observed."""
