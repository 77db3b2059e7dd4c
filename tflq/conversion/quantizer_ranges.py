"""The ranges that the quantizers read in a float32 file, and the scales of zeros that the 16-bit quantizer writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.calibrate import Range
from tflq.conversion.dynamic_range import LARGEST, SMALLEST_RANGE
from tflq.conversion.sum_ranges import widen_sums
from tflq.flatbuffer import Tensor, edit, read

RANGE_OF_ZEROS = 1.0
"""The end of the range of int16 activations that are always 0. Without it their scale would be 0."""
SCALES_OF_ZEROS = {
    schema.TensorType.INT8: SMALLEST_RANGE / LARGEST,
    schema.TensorType.INT16: RANGE_OF_ZEROS / np.iinfo(np.int16).max,
}
"""The scales of weights and of other constants that are all 0."""


def set_ranges(model: Any, ranges: Sequence[Range], is_int16: bool) -> None:
    """Write the ranges into the model. `is_int16` says whether the 16-bit quantizer will read them."""
    for range_ in ranges:
        is_empty = range_.minimum == range_.maximum == 0 and is_int16
        low, high = (-RANGE_OF_ZEROS, RANGE_OF_ZEROS) if is_empty else (range_.minimum, range_.maximum)
        edit.set_range(model, (range_.subgraph, range_.tensor), low, high)
    if is_int16:
        widen_sums(model)


def without_zero_scales(content: bytes) -> bytes:
    """Return the file with scales for constants of zeros, for which the 16-bit quantizer writes scales of 0.

    LiteRT aborts if an ADD or SUB reads such a constant.
    """
    if all(_has_scales(tensor) for subgraph in read(content).subgraphs for tensor in subgraph.tensors):
        return content
    model = edit.unpack(content)
    for tensor in (tensor for subgraph in model.subgraphs for tensor in subgraph.tensors):
        if tensor.type in SCALES_OF_ZEROS and tensor.quantization is not None and tensor.quantization.scale is not None:
            stand_in = SCALES_OF_ZEROS[tensor.type]
            tensor.quantization.scale = [scale or stand_in for scale in tensor.quantization.scale]
    return edit.pack(model)


def _has_scales(tensor: Tensor) -> bool:
    return tensor.quantization is None or 0 not in tensor.quantization.scales
