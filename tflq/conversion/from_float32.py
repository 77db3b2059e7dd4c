"""Files of modes without ranges, made from the float32 file instead of by a conversion of the source.

The result is that of the converter: the same ops in the same order, with the same constants.
tests/test_from_float32.py compares the two. That is shown for the ops in `PROVEN` in a file without control flow or
quantization. Any other SavedModel is converted from the source. The one difference is the state of a fused LSTM, which
stays a variable, as in the float32 file; the converter's float16 file sets it to zeros in each call. The converter has
no mode like weights8 and dynamic4, whose files are made from every float32 file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tflq.contract import NO_OPS, NamedOps
from tflq.conversion import keep_float
from tflq.conversion.converter_errors import explaining
from tflq.conversion.dynamic_range import to_dynamic_range
from tflq.conversion.float16 import to_float16
from tflq.conversion.tf_internal import convert, with_metadata, write_file, write_weight_only
from tflq.flatbuffer import constants, edit, read
from tflq.flatbuffer.metadata import raise_runtime_version
from tflq.modes import Float16, Float32, Mode, WeightOnly
from tflq.op_selectors import select
from tflq.sources.prepared import PreparedSource
from tflq.worker import ProgressCallback

PROVEN = frozenset(
    (
        *("ABS", "ADD", "ADD_N", "ARG_MAX", "ARG_MIN", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BATCH_TO_SPACE_ND"),
        *("BROADCAST_TO", "CAST", "CEIL", "CONCATENATION", "CONV_2D", "CONV_3D", "COS", "CUMSUM"),
        *("DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DIV", "ELU", "EQUAL", "EXP", "FLOOR", "FLOOR_DIV", "FLOOR_MOD"),
        *("FULLY_CONNECTED", "GATHER", "GATHER_ND", "GELU", "GREATER", "GREATER_EQUAL", "HARD_SWISH"),
        *("L2_NORMALIZATION", "LEAKY_RELU", "LESS", "LOCAL_RESPONSE_NORMALIZATION", "LOG", "LOGICAL_AND"),
        *("LOGICAL_OR", "LOGISTIC", "LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD"),
        *("MUL", "NEG", "NOT_EQUAL", "ONE_HOT", "PACK", "PAD", "PADV2", "POW", "PRELU", "REDUCE_ANY"),
        *("REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "RELU", "RELU6", "RESHAPE", "RESIZE_BILINEAR"),
        *("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "ROUND", "RSQRT", "SELECT", "SELECT_V2", "SHAPE", "SIGN"),
        *("SIN", "SLICE", "SOFTMAX", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQRT", "SQUARE"),
        *("SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE", "TOPK_V2", "TRANSPOSE"),
        *("TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNPACK"),
    )
)
"""The ops with which the result was compared with that of the converter."""
FIRST_RUNTIMES: Mapping[tuple[str, int], str] = MappingProxyType(
    {
        ("BATCH_MATMUL", 4): "2.5.0",
        ("CONV_2D", 2): "1.14.0",
        ("CONV_2D", 5): "2.4.0",
        ("DEPTHWISE_CONV_2D", 4): "2.2.0",
        ("DEPTHWISE_CONV_2D", 6): "2.3.0",
        ("DEQUANTIZE", 2): "1.14.0",
        ("DEQUANTIZE", 3): "1.15.0",
        ("FULLY_CONNECTED", 9): "2.3.0",
        ("FULLY_CONNECTED", 12): "2.17.0",
        ("GATHER", 2): "1.14.0",
        ("TRANSPOSE_CONV", 2): "2.2.0",
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", 3): "2.3.0",
    }
)
"""The first runtime that has the op at this version."""


def convert_from_float32(
    report: ProgressCallback, float32: Path, prepared: PreparedSource, variant: Mode, target: Path
) -> NamedOps:
    """Write the file of a variant without ranges from the float32 file if it is eligible.

    The file of a variant of mode float32 has the same ops, and sparse weights.

    A .tflite source has nothing else to convert, so its files are always made from the float32 file. Return the ops of
    a weight-only file that keep_float names. ConversionError, with cause and remedy, if TensorFlow fails.
    """
    content = float32.read_bytes()
    if isinstance(variant, Float32):
        write_file(content, variant, target)
        return NO_OPS
    if isinstance(variant, WeightOnly):
        return write_weight_only(content, variant, target)
    if not prepared.is_tflite and not is_eligible(edit.unpack(content)):
        return convert(report, prepared, variant, target)
    with explaining():
        made = _converted(content, variant)
    if variant.keep_float:
        made = keep_float.with_float_weights(made, content, select(read(content), variant.keep_float))
    target.write_bytes(made)
    return NO_OPS


def _converted(content: bytes, variant: Mode) -> bytes:
    model = edit.unpack(content)
    if isinstance(variant, Float16):
        to_float16(model)
    else:
        to_dynamic_range(model, variant)
    for code in model.operatorCodes:
        raise_runtime_version(model, FIRST_RUNTIMES.get((edit.type_of(code), code.version), ""))
    constants.share_buffers(model)
    return with_metadata(edit.pack(model), variant)


def is_eligible(model: Any) -> bool:
    """Whether the files made from this float32 model are known to be those of the converter."""
    types = [edit.type_of(code) for code in model.operatorCodes]
    if len(types) != len(set(types)) or not PROVEN.issuperset(types):
        return False
    for subgraph in model.subgraphs:
        ends = {*map(int, subgraph.inputs), *map(int, subgraph.outputs)}
        if any(edit.is_constant(model, subgraph.tensors[index]) for index in ends):
            return False
    return all(_is_plain(model, tensor) for subgraph in model.subgraphs for tensor in subgraph.tensors)


def _is_plain(model: Any, tensor: Any) -> bool:
    """Whether the tensor is neither quantized nor sparse, and its float32 values are finite."""
    if tensor.sparsity is not None:
        return False
    if tensor.quantization is not None and tensor.quantization.scale is not None:
        return False
    if not constants.is_float32_constant(model, tensor):
        return True
    return bool(np.isfinite(constants.float32_values(model, tensor)).all())
