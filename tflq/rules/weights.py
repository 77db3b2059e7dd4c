"""V1 and V2: weights are symmetric, and per-channel scales belong to the output channels."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.flatbuffer import ROLES, Graph
from tflq.rules.effect import (
    BIAS_DIMENSION,
    CHANNEL_DIMENSION,
    DENSE_ZERO_POINT,
    LOWEST_WEIGHT,
    SCALE_DIMENSION,
    WEIGHT_ZERO_POINT,
    ZERO_POINT_COUNT,
    Effect,
)
from tflq.rules.violation import Place, Violation, places

_WITHOUT_ZERO_POINT = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
WEIGHTS = {
    **{type_: (ROLES[type_].weights,) for type_ in _WITHOUT_ZERO_POINT},
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16),
}
"""The positions of weights among the inputs of operators whose kernels use no zero point for them."""
_LOWEST = {"int8": -127, "int4": -7}


def weights_are_symmetric(graph: Graph) -> Iterator[Violation]:
    """V1: zero points are 0, and the lowest integer is not used, so that the sum of two products fits in 16 bits."""
    for place in _weights(graph):
        data, lowest = place.tensor.data, _LOWEST.get(place.tensor.dtype)
        if data is None or lowest is None:
            continue
        zero_point = max(place.quantization.zero_points, key=abs, default=0)
        if zero_point:
            yield place.breaks(_zero_point_effect(place), f"weights with zero point {zero_point}: kernels assume 0")
        is_in_blocks = not place.quantization.scales  # blockwise quantization uses all of int4
        if data.min(initial=0) < lowest and not is_in_blocks:
            yield place.breaks(LOWEST_WEIGHT, f"weights of {data.min()}: the specification has none below {lowest}")


def scales_match_shape(graph: Graph) -> Iterator[Violation]:
    """V2: each scale has a zero point, and several scales are one for each index of their dimension."""
    for place in places(graph):
        quantization, shape = place.quantization, place.tensor.shape
        scales, zero_points, dimension = len(quantization.scales), len(quantization.zero_points), quantization.dimension
        if scales != zero_points:
            yield place.breaks(ZERO_POINT_COUNT, f"{scales} scales but {zero_points} zero points")
        if quantization.is_per_axis and shape[dimension : dimension + 1] != (scales,):
            effect = BIAS_DIMENSION if _is_bias(place) and shape == (scales,) else SCALE_DIMENSION
            yield place.breaks(effect, f"{scales} scales along dimension {dimension} of shape {list(shape)}")


def channels_have_scales(graph: Graph) -> Iterator[Violation]:
    """V2: the scales of weights belong to the output channels. Dense weights may have one scale or several."""
    for place in _weights(graph):
        dimension, roles = place.quantization.dimension, ROLES.get(place.operator.type)
        if place.quantization.is_per_axis and roles and dimension != roles.channels:
            message = f"scales along dimension {dimension}: kernels apply them along dimension {roles.channels}"
            yield place.breaks(CHANNEL_DIMENSION, message)


def _zero_point_effect(place: Place) -> Effect:
    """Return what a zero point does. Dense kernels for int8 use it if there is one for the whole tensor."""
    data = place.subgraph.input(place.operator, 0)
    is_dense = place.operator.type == "FULLY_CONNECTED" and not place.quantization.is_per_axis
    return DENSE_ZERO_POINT if is_dense and data is not None and data.dtype == "int8" else WEIGHT_ZERO_POINT


def _is_bias(place: Place) -> bool:
    roles = ROLES.get(place.operator.type)
    return roles is not None and place.subgraph.input(place.operator, roles.bias) is place.tensor


def _weights(graph: Graph) -> Iterator[Place]:
    for subgraph, operator in graph.operators():
        for position in WEIGHTS.get(operator.type, ()):
            tensor = subgraph.input(operator, position)
            if tensor is not None and tensor.is_constant:
                yield Place(subgraph, operator, tensor)
