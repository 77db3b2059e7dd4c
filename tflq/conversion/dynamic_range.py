"""int8 weights in a float32 file, as dynamic-range quantization of the converter writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import constants, edit
from tflq.modes import Mode

MIN_ELEMENTS = 1024
"""Smaller constants stay in float."""
LARGEST = 127
"""Weights are from -127 to 127."""
SMALLEST_RANGE = 5e-7
"""Smaller magnitudes get the scale of this one, as in the converter, so that weights of zeros have a scale."""


@dataclass(frozen=True)
class WeightInput:
    """The input of an op that may have int8 weights."""

    position: int
    channels: int | None
    """The dimension with one scale per index; None if the weights have one scale."""


WEIGHT_INPUTS: Mapping[str, WeightInput] = MappingProxyType(
    {
        "CONV_2D": WeightInput(1, 0),
        "DEPTHWISE_CONV_2D": WeightInput(1, 3),
        "FULLY_CONNECTED": WeightInput(1, 0),
        "TRANSPOSE_CONV": WeightInput(1, 0),
        "BATCH_MATMUL": WeightInput(1, None),
        "GATHER": WeightInput(0, None),
    }
)
VERSIONS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "CONV_2D": (5, 2),
        "DEPTHWISE_CONV_2D": (6, 4),
        "FULLY_CONNECTED": (12, 9),
        "TRANSPOSE_CONV": (2, 2),
        "BATCH_MATMUL": (4, 4),
        "GATHER": (2, 2),
    }
)
"""The versions of the ops with int8 weights: with one scale per channel, and with one scale."""
KEEPS_DIMENSIONS = 5
"""The version of FULLY_CONNECTED with one scale and more than two dimensions."""


def to_dynamic_range(model: Any, variant: Mode) -> None:
    """Store the weights of the first subgraph that have enough elements as int8."""
    (subgraph, *_) = model.subgraphs
    quantized: dict[tuple[int, int | None], int] = {}
    operators: list[Any] = []
    for operator in subgraph.operators:
        operators.append(operator)
        type_ = edit.type_of(model.operatorCodes[operator.opcodeIndex])
        weights = quantizable_weights(model, operator)
        if weights is None:
            continue
        channels = _channels(type_, variant)
        if (weights, channels) not in quantized:
            quantized[weights, channels] = _add_int8(model, weights, channels)
        operator.inputs[WEIGHT_INPUTS[type_].position] = quantized[weights, channels]
        _raise_version(model, operator, channels is not None)
        if type_ == "GATHER":
            operators.append(_dequantized_output(model, operator))
    subgraph.operators = operators
    edit.drop_unused(model)


def quantizable_weights(model: Any, operator: Any) -> int | None:
    """Return the index of the op's weights if they become int8, else None."""
    (subgraph, *_) = model.subgraphs
    role = WEIGHT_INPUTS.get(edit.type_of(model.operatorCodes[operator.opcodeIndex]))
    index = int(operator.inputs[role.position]) if role else -1
    if index < 0 or not constants.is_float32_constant(model, subgraph.tensors[index]):
        return None
    return index if constants.float32_values(model, subgraph.tensors[index]).size >= MIN_ELEMENTS else None


def _channels(type_: str, variant: Mode) -> int | None:
    has_channels = variant.per_channel and (type_ != "FULLY_CONNECTED" or variant.per_channel_dense)
    return WEIGHT_INPUTS[type_].channels if has_channels else None


def _add_int8(model: Any, index: int, channels: int | None) -> int:
    """Add the quantized constant, and return its index."""
    (subgraph, *_) = model.subgraphs
    weights, scales = quantize(constants.float32_values(model, subgraph.tensors[index]), channels)
    target = edit.add_copy(subgraph, index)
    tensor = subgraph.tensors[target]
    tensor.type, tensor.buffer = schema.TensorType.INT8, constants.add_buffer(model, weights)
    tensor.quantization = schema.QuantizationParametersT(
        scale=scales.astype(np.float32),
        zeroPoint=np.zeros(len(scales), np.int64),
        quantizedDimension=channels or 0,
    )
    return target


def quantize(values: np.ndarray, channels: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 weights and their scales, in double precision, as the converter computes them.

    The largest magnitude of each channel becomes 127. Halves are rounded away from zero.
    """
    exact = values.astype(np.float64)
    axes = tuple(axis for axis in range(values.ndim) if axis != channels) if channels is not None else None
    largest = np.abs(exact).max(axis=axes, keepdims=True)
    scales = np.maximum(largest, SMALLEST_RANGE) / LARGEST
    scaled = exact / scales
    rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
    return np.clip(rounded, -LARGEST, LARGEST).astype(np.int8), scales.reshape(-1)


def _raise_version(model: Any, operator: Any, has_channels: bool) -> None:
    """Set the version of the op's code, which all ops of its type share, and the options of ops with int8 weights."""
    code, options = model.operatorCodes[operator.opcodeIndex], operator.builtinOptions
    type_ = edit.type_of(code)
    with_channels, with_one_scale = VERSIONS[type_]
    version = with_channels if has_channels else with_one_scale
    if hasattr(options, "asymmetricQuantizeInputs"):
        options.asymmetricQuantizeInputs = True
    if type_ == "FULLY_CONNECTED" and options.keepNumDims and not has_channels:
        version = KEEPS_DIMENSIONS
    code.version = max(code.version, version)


def _dequantized_output(model: Any, operator: Any) -> Any:
    """Let the op write int8, and return a new op that converts it to the float32 output of before."""
    (subgraph, *_) = model.subgraphs
    (output,) = (int(index) for index in operator.outputs)
    inner = edit.add_copy(subgraph, output)
    tensor = subgraph.tensors[inner]
    tensor.name, tensor.type = tensor.name + b"_int8", schema.TensorType.INT8
    tensor.quantization = subgraph.tensors[operator.inputs[0]].quantization
    operator.outputs = [inner]
    return edit.conversion(model, "DEQUANTIZE", inner, output)
