"""int8 weights in a float32 file, as dynamic-range quantization of the converter writes them."""

from __future__ import annotations

import math
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
    """The inputs of an op that may have int8 weights."""

    positions: tuple[int, ...]
    """If there are several, all weights at these positions become int8, or none."""
    channels: int | None
    """The dimension with one scale per index; None if the weights have one scale."""


LSTM = WeightInput((*range(1, 9), 16), None)
WEIGHT_INPUTS: Mapping[str, WeightInput] = MappingProxyType(
    {
        "CONV_2D": WeightInput((1,), 0),
        "DEPTHWISE_CONV_2D": WeightInput((1,), 3),
        "FULLY_CONNECTED": WeightInput((1,), 0),
        "TRANSPOSE_CONV": WeightInput((1,), 0),
        "BATCH_MATMUL": WeightInput((1,), None),
        "GATHER": WeightInput((0,), None),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": LSTM,
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
        "UNIDIRECTIONAL_SEQUENCE_LSTM": (3, 3),
    }
)
"""The versions of the ops with int8 weights: with one scale per channel, and with one scale."""
KEEPS_DIMENSIONS = 5
"""The version of FULLY_CONNECTED with one scale and more than two dimensions."""


def to_dynamic_range(model: Any, variant: Mode) -> None:
    """Store the weights that have enough elements as int8."""
    for subgraph in model.subgraphs:
        _quantize_subgraph(model, subgraph, variant)
    edit.drop_unused(model)


def _quantize_subgraph(model: Any, subgraph: Any, variant: Mode) -> None:
    quantized: dict[tuple[int, int | None], int] = {}
    dequantized: dict[int, int] = {}
    operators: list[Any] = []
    plain = [operator for operator in subgraph.operators if _is_plain_gather(model, subgraph, operator)]
    for operator in subgraph.operators:
        operators.append(operator)
        type_ = edit.type_of(model.operatorCodes[operator.opcodeIndex])
        for position in quantizable_weights(model, subgraph, operator):
            weights, channels = int(operator.inputs[position]), _channels(type_, variant)
            if (weights, channels) not in quantized:
                quantized[weights, channels] = _add_int8(model, subgraph, weights, channels)
            operator.inputs[position] = quantized[weights, channels]
            if type_ != "GATHER":
                _raise_version(model, operator, channels is not None)
            elif operator in plain:
                _raise_version(model, operator, channels is not None)
                operators.append(dequantized_output(model, subgraph, operator))
            else:
                dequantized.setdefault(quantized[weights, channels], edit.add_copy(subgraph, weights))
                operator.inputs[position] = dequantized[quantized[weights, channels]]
    for target in dequantized.values():
        subgraph.tensors[target].buffer = 0
    tables = [edit.conversion(model, "DEQUANTIZE", *tensors) for tensors in dequantized.items()]
    subgraph.operators = [*tables, *operators]


def quantizable_weights(model: Any, subgraph: Any, operator: Any) -> tuple[int, ...]:
    """Return the positions of the op's weights that become int8."""
    role = WEIGHT_INPUTS.get(edit.type_of(model.operatorCodes[operator.opcodeIndex]))
    if role is None:
        return ()
    present = [place for place in role.positions if place < len(operator.inputs) and operator.inputs[place] >= 0]
    are_quantizable = all(_is_quantizable(model, subgraph.tensors[operator.inputs[place]]) for place in present)
    return tuple(present) if are_quantizable else ()


def _is_quantizable(model: Any, tensor: Any) -> bool:
    if not constants.is_float32_constant(model, tensor):
        return False
    values = constants.float32_values(model, tensor)
    return values.size >= MIN_ELEMENTS and bool(np.isfinite(values).all())


def _is_plain_gather(model: Any, subgraph: Any, operator: Any) -> bool:
    """Whether this is a GATHER that reads its own table and whose output is smaller than the table.

    For any other GATHER the converter dequantizes the whole table.
    """
    if edit.type_of(model.operatorCodes[operator.opcodeIndex]) != "GATHER":
        return False
    table, output = (subgraph.tensors[index] for index in (operator.inputs[0], operator.outputs[0]))
    if output.shapeSignature is not None and -1 in output.shapeSignature:
        return False
    readers = [index for other in subgraph.operators for index in other.inputs]
    return math.prod(output.shape) < math.prod(table.shape) and readers.count(operator.inputs[0]) == 1


def _channels(type_: str, variant: Mode) -> int | None:
    has_channels = variant.per_channel and (type_ != "FULLY_CONNECTED" or variant.per_channel_dense)
    return WEIGHT_INPUTS[type_].channels if has_channels else None


def _add_int8(model: Any, subgraph: Any, index: int, channels: int | None) -> int:
    """Add the quantized constant, and return its index."""
    target = edit.add_copy(subgraph, index)
    store_int8(model, subgraph.tensors[target], channels)
    return target


def store_int8(model: Any, tensor: Any, channels: int | None) -> None:
    """Replace the float32 values of the constant by int8 weights."""
    weights, scales = quantize(constants.float32_values(model, tensor), channels)
    tensor.type, tensor.buffer = schema.TensorType.INT8, constants.add_buffer(model, weights)
    tensor.quantization = schema.QuantizationParametersT(
        scale=scales.astype(np.float32),
        zeroPoint=np.zeros(len(scales), np.int64),
        quantizedDimension=channels or 0,
    )


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


def dequantized_output(model: Any, subgraph: Any, operator: Any) -> Any:
    """Let the op write int8, and return a new op that converts it to the float32 output of before."""
    (output,) = (int(index) for index in operator.outputs)
    inner = edit.add_copy(subgraph, output)
    tensor = subgraph.tensors[inner]
    tensor.name, tensor.type = tensor.name + b"_int8", schema.TensorType.INT8
    tensor.quantization = subgraph.tensors[operator.inputs[0]].quantization
    operator.outputs = [inner]
    return edit.conversion(model, "DEQUANTIZE", inner, output)
