"""V5 to V7: a bias is added to integer products, so its scale is the scale of the input times that of the weights.

V6 and V7 also cover V14, the same rule for int16 activations with int8 weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tflq.flatbuffer import ROLES, Graph
from tflq.rules.effect import (
    BIAS_SCALE,
    BIAS_SCALE_COUNT,
    BIAS_TYPE,
    BIAS_ZERO_POINT,
    CLIPPED_BIAS,
    LARGE_BIAS,
    SHARED_BIAS,
)
from tflq.rules.violation import Place, Violation

_DTYPES = {
    ("CONV_2D", "int8"): ("int32",),
    ("CONV_2D", "int16"): ("int64", "int32"),
    ("DEPTHWISE_CONV_2D", "int8"): ("int32",),
    ("DEPTHWISE_CONV_2D", "int16"): ("int64",),
    ("FULLY_CONNECTED", "int8"): ("int32",),
    ("FULLY_CONNECTED", "int16"): ("int64", "int32"),
    ("TRANSPOSE_CONV", "int8"): ("int32",),
    ("TRANSPOSE_CONV", "int16"): ("int64",),
}
"""The bias dtypes that kernels exist for, by operator and dtype of the activation. The first one is usual."""
_TOLERANCE = 1e-4  # the converter is exact to 1e-7; the rounding of activations hides differences below this tolerance
_INT32_MAX = 2**31 - 1
_CONVERTER_MAX = 1.01 * 2**30  # if a bias would be larger, the converter enlarges the scale of the weights


@dataclass(frozen=True)
class _Bias:
    """A constant bias, with an operator that adds it to products of integers."""

    place: Place
    activation: str
    """The dtype of the operator's input."""
    products: tuple[float, ...]
    """The expected scales: the scale of the input times each scale of the weights."""

    @property
    def misfit(self) -> float:
        """The largest relative difference to the expected scales. A bias of zeros fits any scale."""
        data, scales = self.place.tensor.data, self.place.quantization.scales
        if len(scales) != len(self.products) or data is None or not data.any():
            return 0.0
        expected = np.maximum(self.products, np.finfo(np.float32).tiny)
        with np.errstate(all="ignore"):
            return float(np.max(np.abs(np.array(scales) - self.products) / expected))


def biases_are_typed(graph: Graph) -> Iterator[Violation]:
    """V5: a bias is int32 beside int8, and int64 or int32 beside int16, by the kernels of the op.

    It has zero points 0, and as many scales as the weights.
    """
    for bias in _biases(graph):
        dtypes = _DTYPES[bias.place.operator.type, bias.activation]
        scales, zero_points = bias.place.quantization.scales, bias.place.quantization.zero_points
        if bias.place.tensor.dtype not in dtypes:
            message = f"a bias of {bias.place.tensor.dtype}: beside {bias.activation} it should be {dtypes[0]}"
            yield bias.place.breaks(BIAS_TYPE, message)
        if any(zero_points):
            yield bias.place.breaks(
                BIAS_ZERO_POINT, f"a bias with zero point {max(zero_points, key=abs)}: kernels assume 0"
            )
        if len(scales) != len(bias.products):
            message = f"the bias has {len(scales)} scales, but the weights have {len(bias.products)}"
            yield bias.place.breaks(BIAS_SCALE_COUNT, message)


def bias_scales_fit(graph: Graph) -> Iterator[Violation]:
    """V6: the scale of a bias is the scale of the products that it is added to."""
    for biases in _by_tensor(graph):
        if len(biases) == 1 and biases[0].misfit > _TOLERANCE:
            message = (
                f"its scale differs by {biases[0].misfit:.2g} times the scale of the input times that of the weights"
            )
            yield biases[0].place.breaks(BIAS_SCALE, message)


def biases_are_whole(graph: Graph) -> Iterator[Violation]:
    """V6: no bias is clipped to int32. Warn of a bias beyond the half of int32 that the converter allows."""
    for bias, *_ in _by_tensor(graph):
        if bias.place.tensor.dtype != "int32" or bias.place.tensor.data is None:
            continue
        largest = int(np.max(np.abs(bias.place.tensor.data.astype(np.int64)), initial=0))
        if largest >= _INT32_MAX:
            yield bias.place.breaks(CLIPPED_BIAS, "the bias is clipped to int32, because its scale is too small")
        elif largest > _CONVERTER_MAX:
            yield bias.place.breaks(LARGE_BIAS, f"the bias is close to the limit of int32: {largest:,}")


def shared_biases_fit(graph: Graph) -> Iterator[Violation]:
    """V7: a bias that several operators share has one scale that is right for each of them.

    The converter shares biases with equal float values before it quantizes them for int16 activations.
    """
    for biases in _by_tensor(graph):
        misfits = [bias for bias in biases if bias.misfit > _TOLERANCE]
        if len(biases) > 1 and misfits:
            message = f"shared by {len(biases)} operators, and its scale is wrong for {len(misfits)} of them"
            yield misfits[0].place.breaks(SHARED_BIAS, message)


def _by_tensor(graph: Graph) -> list[list[_Bias]]:
    groups: dict[tuple[int, int], list[_Bias]] = {}
    for bias in _biases(graph):
        groups.setdefault((bias.place.subgraph.index, bias.place.tensor.index), []).append(bias)
    return list(groups.values())


def _biases(graph: Graph) -> Iterator[_Bias]:
    for subgraph, operator in graph.operators():
        roles = ROLES.get(operator.type)
        positions = (roles.activation, roles.weights, roles.bias) if roles else ()
        tensors = [tensor for position in positions if (tensor := subgraph.input(operator, position)) is not None]
        if len(tensors) < 3 or not tensors[2].is_constant or (operator.type, tensors[0].dtype) not in _DTYPES:
            continue
        input_, weights = (tensor.quantization.scales if tensor.quantization else () for tensor in tensors[:2])
        if input_ and weights:
            with np.errstate(all="ignore"):  # the product is rounded to float32, as the converter does
                products = np.float32(input_[0]) * np.array(weights, np.float32)
            yield _Bias(Place(subgraph, operator, tensors[2]), tensors[0].dtype, tuple(products.tolist()))
