"""The only package that uses TFLiteConverter. Everything here runs in a worker."""

from __future__ import annotations

from tflq.conversion.converter_errors import explain
from tflq.conversion.from_float32 import convert_from_float32
from tflq.conversion.keep_int16 import named_int16_ops
from tflq.conversion.model_end import end_source
from tflq.conversion.tf_internal import calibrate, convert, quantize, quantize_to_compare
from tflq.conversion.tf_public import convert_publicly
from tflq.conversion.tf_self_test import missing_internals

__all__ = [
    "calibrate",
    "convert",
    "convert_from_float32",
    "convert_publicly",
    "end_source",
    "explain",
    "missing_internals",
    "named_int16_ops",
    "quantize",
    "quantize_to_compare",
]
