"""int4 weights of dense layers in blocks of 32 that share a scale, as LiteRT's kernels of FULLY_CONNECTED read them.

The scales are a tensor of their own, in float16. Each is one that bfloat16 represents, too, since XNNPACK keeps them in
bfloat16. The kernels quantize activations in each call.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.errors import ConversionError
from tflq.flatbuffer import Graph, constants, edit
from tflq.flatbuffer.constants import INT4
from tflq.flatbuffer.metadata import raise_runtime_version
from tflq.weight_only import BLOCK, DENSE, DENSE_SHARE, dense_weights, share_of_dense

VERSION = (12, "2.20.0")
"""The version of FULLY_CONNECTED, and the first runtime that applies the scales of blocks: that of LiteRT 1.3.0.

LiteRT 1.2.0 has the version, too, but applies one scale to all weights.
"""


def store_blocks(model: Any, graph: Graph, kept: Collection[int]) -> None:
    """Store the weights of dense layers as int4. `graph` is that of the model.

    `kept` holds the indices of ops of the main graph whose weights stay as they are. ConversionError, with the share,
    if the weights of the others are not most of the bytes of the model's constants.
    """
    chosen = dense_weights(graph, kept)
    share = share_of_dense(graph, chosen)
    if share < DENSE_SHARE:
        raise ConversionError(
            f"mode dynamic4: {share:.0%} of the bytes of constants are weights of {DENSE} ops whose rows are multiples"
            f" of {BLOCK} values. At least {DENSE_SHARE:.0%} are needed, since LiteRT has such int4 weights for no"
            " other op. Use mode weights8 or dynamic"
        )
    for place, index in chosen:
        _store(model, place, index)
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            if edit.type_of(code) == DENSE and subgraph.tensors[operator.inputs[1]].type == schema.TensorType.INT4:
                operator.builtinOptions.asymmetricQuantizeInputs = True
                code.version = max(code.version, VERSION[0])
    raise_runtime_version(model, VERSION[1])


def _store(model: Any, place: int, index: int) -> None:
    subgraph = model.subgraphs[place]
    tensor = subgraph.tensors[index]
    steps, scales = quantize_blocks(constants.float32_values(model, tensor))
    name = (tensor.name or b"").decode()
    tensor.type, tensor.buffer = schema.TensorType.INT4, constants.add_buffer(model, constants.packed_int4(steps))
    place_of_scales = edit.add_tensor(model, f"{name}_scales", [*scales.shape], "FLOAT16", place)
    subgraph.tensors[place_of_scales].buffer = constants.add_buffer(model, scales)
    blockwise = schema.BlockwiseQuantizationT(scales=place_of_scales, zeroPoints=-1, blockSize=BLOCK)
    tensor.quantization = schema.QuantizationParametersT(
        detailsType=schema.QuantizationDetails.BlockwiseQuantization, details=blockwise
    )


def quantize_blocks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the int4 weights in int8, and the scales of their blocks in float16, [rows, blocks]."""
    blocks = values.astype(np.float64).reshape(len(values), -1, BLOCK)
    scales = _representable(np.abs(blocks).max(2) / INT4[1])
    steps = np.clip(np.rint(blocks / scales[:, :, np.newaxis]), *INT4)
    return steps.astype(np.int8).reshape(values.shape), scales.astype(np.float16)


def _representable(scales: np.ndarray) -> np.ndarray:
    """Return the nearest scales above 0 that float16 and bfloat16 both represent exactly, in float32."""
    bits = scales.astype(np.float32).view(np.uint32)
    short = ((bits + 0x8000) & np.uint32(0xFFFF0000)).view(np.float32)
    stored = short.astype(np.float16).astype(np.float32)
    nearest: np.ndarray = np.maximum(stored, np.float32(np.finfo(np.float16).smallest_subnormal))
    return nearest
