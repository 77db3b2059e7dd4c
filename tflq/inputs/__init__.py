"""Rows → samples: one definition of each model input, for calibration and for evaluation."""

from __future__ import annotations

from tflq.inputs.checks import Summary, Survey, check_calibration, check_finite, oddities
from tflq.inputs.recipe import Input, Resize
from tflq.inputs.samples import make_sample

__all__ = ["Input", "Resize", "Summary", "Survey", "check_calibration", "check_finite", "make_sample", "oddities"]
