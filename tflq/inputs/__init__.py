"""Rows → samples: one definition of each model input, for calibration and for evaluation."""

from __future__ import annotations

from tflq.inputs.checks import Summary, Survey, check_calibration, check_finite, oddities
from tflq.inputs.recipe import Input, Resize
from tflq.inputs.samples import make_sample
from tflq.inputs.stored import Stored, Writer

__all__ = [
    "Input",
    "Resize",
    "Stored",
    "Summary",
    "Survey",
    "Writer",
    "check_calibration",
    "check_finite",
    "make_sample",
    "oddities",
]
