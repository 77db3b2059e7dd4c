"""V5 to V7: a bias is added to integer products, so its scale is the input's times that of the weights.

V14, the same where activations are int16 and weights int8, is V6 and V7 there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tflq.flatbuffer import ROLES, Graph
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
"""The dtypes of bias that there are kernels for, by operator and activation."""
_TOLERANCE = 1e-4  # the converter keeps to 1e-7; less than this is lost in the rounding of the activations
_LARGEST_INT32 = 2**31 - 1
_CONVERTERS_LARGEST = 1.01 * 2**30  # where a bias would be larger, the converter enlarges the scale of the weights


@dataclass(frozen=True)
class _Bias:
    """A constant bias, at an operator that adds it to products of integers."""

    place: Place
    activation: str
    products: tuple[float, ...]
    """The scales it should have: the input's times each of the weights'."""

    @property
    def misfit(self) -> float:
        """The largest difference to the scales it should have, as a share of them; a bias of zeros fits anywhere."""
        data, scales = self.place.tensor.data, self.place.quantization.scales
        if len(scales) != len(self.products) or data is None or not data.any():
            return 0.0
        right = np.maximum(self.products, np.finfo(np.float32).tiny)
        with np.errstate(all="ignore"):
            return float(np.max(np.abs(np.array(scales) - self.products) / right))


def biases_are_typed(graph: Graph) -> Iterator[Violation]:
    """V5: int32 beside int8, int64 beside int16; zero points 0; as many scales as the weights have."""
    for bias in _biases(graph):
        dtypes = _DTYPES[bias.place.operator.type, bias.activation]
        scales, zero_points = bias.place.quantization.scales, bias.place.quantization.zero_points
        if bias.place.tensor.dtype not in dtypes:
            message = f"a bias of {bias.place.tensor.dtype}: beside {bias.activation} it should be {dtypes[0]}"
            yield bias.place.breaks("V5", message)
        if any(zero_points):
            yield bias.place.breaks("V5", f"a bias with zero point {max(zero_points, key=abs)}: kernels take it for 0")
        if len(scales) != len(bias.products):
            yield bias.place.breaks("V5", f"the bias has {len(scales)} scales, the weights have {len(bias.products)}")


def bias_scales_fit(graph: Graph) -> Iterator[Violation]:
    """V6: the scale of a bias is that of what it is added to."""
    for biases in _by_tensor(graph):
        if len(biases) == 1 and biases[0].misfit > _TOLERANCE:
            share = f"{biases[0].misfit:.2g} times"
            yield biases[0].place.breaks(
                "V6", f"its scale differs by {share} the product of the input's and the weights'"
            )


def biases_are_whole(graph: Graph) -> Iterator[Violation]:
    """V6: no bias is cut off at the ends of int32; a warning where one is beyond the half that the converter allows."""
    for bias, *_ in _by_tensor(graph):
        if bias.place.tensor.dtype != "int32" or bias.place.tensor.data is None:
            continue
        largest = int(np.max(np.abs(bias.place.tensor.data.astype(np.int64)), initial=0))
        if largest >= _LARGEST_INT32:
            yield bias.place.breaks("V6", "the bias is cut off at the end of int32, for its scale is too small")
        elif largest > _CONVERTERS_LARGEST:
            yield bias.place.breaks("V6", f"the bias comes near the end of int32 with {largest:,}", "warning")


def shared_biases_fit(graph: Graph) -> Iterator[Violation]:
    """V7: a bias that several operators add has one scale, which must be right for each.

    The converter shares biases of equal numbers before it makes integers of them for int16 activations.
    """
    for biases in _by_tensor(graph):
        wrong = [bias for bias in biases if bias.misfit > _TOLERANCE]
        if len(biases) > 1 and wrong:
            message = f"shared by {len(biases)} operators, and its scale is wrong for {len(wrong)} of them"
            yield wrong[0].place.breaks("V7", message)


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
            with np.errstate(all="ignore"):  # rounded to float32 as the converter does
                products = np.float32(input_[0]) * np.array(weights, np.float32)
            yield _Bias(Place(subgraph, operator, tensors[2]), tensors[0].dtype, tuple(products.tolist()))
