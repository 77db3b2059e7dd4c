"""V1 and V2: weights are symmetric, and per-channel scales belong to the output channels."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.flatbuffer import ROLES, Graph
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
            yield place.breaks("V1", f"weights with zero point {zero_point}: kernels assume 0")
        if data.min(initial=0) < lowest:
            yield place.breaks("V1", f"weights of {data.min()}: kernels allow none below {lowest}")


def scales_match_shape(graph: Graph) -> Iterator[Violation]:
    """V2: each scale has a zero point, and several scales are one for each index of their dimension."""
    for place in places(graph):
        quantization, shape = place.quantization, place.tensor.shape
        scales, zero_points, dimension = len(quantization.scales), len(quantization.zero_points), quantization.dimension
        if scales != zero_points:
            yield place.breaks("V2", f"{scales} scales but {zero_points} zero points")
        if quantization.is_per_axis and shape[dimension : dimension + 1] != (scales,):
            yield place.breaks("V2", f"{scales} scales along dimension {dimension} of shape {list(shape)}")


def channels_have_scales(graph: Graph) -> Iterator[Violation]:
    """V2: the scales of weights belong to the output channels. Dense weights may have one scale or several."""
    for place in _weights(graph):
        dimension, roles = place.quantization.dimension, ROLES.get(place.operator.type)
        if place.quantization.is_per_axis and roles and dimension != roles.channels:
            message = f"scales along dimension {dimension}: kernels apply them along dimension {roles.channels}"
            yield place.breaks("V2", message)


def _weights(graph: Graph) -> Iterator[Place]:
    for subgraph, operator in graph.operators():
        for position in WEIGHTS.get(operator.type, ()):
            tensor = subgraph.input(operator, position)
            if tensor is not None and tensor.is_constant:
                yield Place(subgraph, operator, tensor)
