"""The models that refinement has made of one float32 file, kept while the run goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tflq.calibrate import CalibrationData, Counting
from tflq.refine import CorrectedModel, CorrectionFlags, WeightGranularity
from tflq.stages.activation_ranges import SplitCalibration


@dataclass(frozen=True)
class RefinementWork:
    """Intermediate models of one float32 file and its calibration samples, which all variants share."""

    equalized: dict[Counting, CalibrationData] = field(default_factory=dict)
    corrected: dict[tuple[Path, WeightGranularity, CorrectionFlags], CorrectedModel] = field(default_factory=dict)
    split_calibration: dict[Path, SplitCalibration] = field(default_factory=dict)
