"""The only room that touches TFLiteConverter; everything here runs in a worker."""

from __future__ import annotations

from tflq.conversion.explained import explained
from tflq.conversion.private import calibrate, convert, missing, quantize
from tflq.conversion.public import convert_publicly

__all__ = ["calibrate", "convert", "convert_publicly", "explained", "missing", "quantize"]
