"""Convert rows to samples. Calibration, training and evaluation use the same definition of each model input."""

from __future__ import annotations

from tflq.inputs.checks import InputSummary, SummaryBuilder, check_calibration, check_finite, data_warnings
from tflq.inputs.in_words import in_words
from tflq.inputs.quantization import InputQuantization
from tflq.inputs.samples import make_sample
from tflq.inputs.schema import Input, Resize
from tflq.inputs.stored import RowWriter, StoredRows

__all__ = [
    "Input",
    "InputQuantization",
    "InputSummary",
    "Resize",
    "RowWriter",
    "StoredRows",
    "SummaryBuilder",
    "check_calibration",
    "check_finite",
    "data_warnings",
    "in_words",
    "make_sample",
]
