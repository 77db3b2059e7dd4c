"""The only room that touches TFLiteConverter; everything here runs in a worker."""

from __future__ import annotations

from tflq.convert.explained import explained
from tflq.convert.private import calibrate, convert, missing, quantize
from tflq.convert.public import convert_publicly

__all__ = ["calibrate", "convert", "convert_publicly", "explained", "missing", "quantize"]
