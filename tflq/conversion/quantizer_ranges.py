"""The ranges that the quantizers read in a float32 file, and what the 16-bit quantizer makes of zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.calibrate.ranges import Range
from tflq.conversion.dynamic_range import LARGEST, SMALLEST_RANGE
from tflq.conversion.sum_ranges import widen_sums
from tflq.flatbuffer import Tensor, constants, edit, read

RANGE_OF_ZEROS = 1.0
"""The end of the range of int16 activations that are always 0. Without it their scale would be 0."""
PASSED_ON = 1e-4
"""The end of the range of constants of zeros that an op passes on, such as FILL. Its output has the same scale."""
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


def mark_zeros(model: Any) -> list[tuple[int, int]]:
    """Put `PASSED_ON` into constants of zeros that are the only values which an op reads. Return their places.

    The 16-bit quantizer would give the output of the op a scale of 0, and ruin the bias of an op that reads it. Each
    constant must have a buffer of its own.
    """
    places = []
    for place, subgraph in enumerate(model.subgraphs):
        for operator in subgraph.operators:
            floats = [i for i in operator.inputs if i >= 0 and subgraph.tensors[i].type == schema.TensorType.FLOAT32]
            if len(floats) == 1 and _is_zero(model, subgraph.tensors[floats[0]]):
                places.append((place, int(floats[0])))
    for place, index in places:
        tensor = model.subgraphs[place].tensors[index]
        values = np.full_like(constants.float32_values(model, tensor), PASSED_ON)
        tensor.buffer = constants.add_buffer(model, values)
    return places


def _is_zero(model: Any, tensor: Any) -> bool:
    return constants.is_float32_constant(model, tensor) and not np.any(constants.float32_values(model, tensor))


def with_zeros(content: bytes, places: Sequence[tuple[int, int]]) -> bytes:
    """Return the quantized file with zeros in the constants at these places."""
    if not places:
        return content
    model = edit.unpack(content)
    for place, index in places:
        buffer = model.buffers[model.subgraphs[place].tensors[index].buffer]
        buffer.data = np.zeros_like(buffer.data)
    return edit.pack(model)


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
