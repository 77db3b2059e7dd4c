"""The ops with constant float weights, with their inputs and weights as the matrices of a product (im2col)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import ROLES, FileContent, Operator, Options, Tensor, operator_options, read
from tflq.refine.gptq import scales

DENSE, GROUPED, SCATTERED = "FULLY_CONNECTED", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"
"""Op types. A transposed convolution adds products at the positions where outputs overlap.

So only the mean of its input can be used, not the covariance.
"""


MAX_CLUSTERS, WEIGHTS_PER_CLUSTER = 64, 8
"""The largest number of distinct weights of a clustered layer, and the least number of weights for each of them."""
WEIGHTS_LOOKED_AT = 4096
"""The number of weights that show in most layers that they are not clustered."""


@dataclass(frozen=True)
class Layer:
    """An op with constant float weights: output = weights · input patch + bias, in each of its groups."""

    operator: Operator
    activation: Tensor
    weights: Tensor
    bias: Tensor | None
    options: Options
    """The op's options by their names in the file format: strides, padding, dilation."""

    @property
    def is_scattered(self) -> bool:
        """Whether the op is a transposed convolution, which adds each product to several outputs."""
        return self.operator.type == SCATTERED

    @cached_property
    def is_clustered(self) -> bool:
        """Whether the weights have few distinct values, as training with weight clustering leaves them."""
        values = np.asarray(self.weights.data).reshape(-1)
        if len(np.unique(values[:WEIGHTS_LOOKED_AT])) > MAX_CLUSTERS:
            return False
        return len(np.unique(values)) <= min(MAX_CLUSTERS, len(values) // WEIGHTS_PER_CLUSTER)

    @property
    def width(self) -> int:
        """The number of input values in each output."""
        shape = self.weights.shape
        return prod(shape[:-1] if self.operator.type == GROUPED else shape[1:])

    @property
    def groups(self) -> int:
        """The number of matrices of `as_matrices`."""
        return self.activation.shape[-1] if self.operator.type == GROUPED else 1

    def as_matrices(self, weights: np.ndarray) -> np.ndarray:
        """Return weights of the tensor's shape as [groups, outputs of a group, inputs]; most ops have one group."""
        if self.operator.type == GROUPED:
            channels = self.activation.shape[-1]
            return np.moveaxis(weights.reshape(-1, channels, weights.shape[-1] // channels), 0, 2)
        return weights.reshape(1, len(weights), -1)

    def as_tensor(self, matrices: np.ndarray) -> np.ndarray:
        """Return matrices in the shape of the weights; the inverse of `as_matrices`."""
        shaped = np.moveaxis(matrices, 2, 0) if self.operator.type == GROUPED else matrices
        return shaped.reshape(self.weights.shape)

    def products(self, matrices: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Return the mean of each output channel without bias, [outputs].

        `matrices` are weights, [groups, outputs of a group, inputs]; `mean` is that of the inputs, [groups, inputs].
        """
        if self.is_scattered:  # each tap of the kernel adds to one of stride² outputs
            taps = self.as_tensor(matrices).sum((1, 2)) / (self.options["strideH"] * self.options["strideW"])
            scattered: np.ndarray = taps @ mean[0]
            return scattered
        products: np.ndarray = np.einsum("goi,gi->go", matrices, mean).reshape(-1)
        return products

    def input_patches(self, data: np.ndarray, rows: int, seed: int) -> np.ndarray:
        """Return the input patches at `rows` random positions of the output, [positions, groups, inputs].

        There are fewer patches if the output has fewer positions. For a transposed convolution, the patches are single
        pixels of its input, [positions, 1, channels].
        """
        random = np.random.default_rng(seed)
        if self.operator.type in (DENSE, SCATTERED):
            flat = data.reshape(-1, 1, self.weights.shape[-1])
            return flat if len(flat) <= rows else flat[random.choice(len(flat), rows, replace=False)]
        windows = self._windows(data)
        places = windows.shape[:3]
        sampled = random.choice(prod(places), min(rows, prod(places)), replace=False)
        patches = windows[np.unravel_index(sampled, places)]  # [positions, channels, height, width]
        if self.operator.type == GROUPED:
            return patches.reshape(*patches.shape[:2], -1)
        return np.moveaxis(patches, 1, 3).reshape(len(patches), 1, -1)

    def _windows(self, data: np.ndarray) -> np.ndarray:
        """Return all input windows, 0 beyond the borders.

        The shape is [batch, height and width of the output, channels, height and width of the kernel].
        """
        options, kernel = self.options, self.weights.shape[1:3]
        strides = options["strideH"], options["strideW"]
        dilations = options["dilationHFactor"], options["dilationWFactor"]
        spans = [(size - 1) * by + 1 for size, by in zip(kernel, dilations, strict=True)]
        if options["padding"] == schema.Padding.SAME:
            sizes = zip(data.shape[1:3], strides, spans, strict=True)
            padding = [max((-(-size // by) - 1) * by + span - size, 0) for size, by, span in sizes]
            if any(padding):
                data = np.pad(data, ((0, 0), *((each // 2, each - each // 2) for each in padding), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(data, spans, axis=(1, 2))
        return windows[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]


@dataclass(frozen=True)
class WeightGranularity:
    """The granularity of weight scales in the quantized file: per channel or per tensor."""

    per_channel: bool = True
    """Whether the weights of convolutions have one scale per output channel."""
    per_channel_dense: bool = True
    """Whether the weights of dense layers have one, too; only if `per_channel` is True."""
    takes_scales: bool = False
    """Whether the quantizer takes scales per channel from the file, as the one for 16-bit activations does.

    Else the largest weight of a channel defines its scale. It is True only if `per_channel` is True.
    """

    @property
    def in_words(self) -> str:
        """The end of a stage's name; empty if all scales are per channel, and the largest weights define them."""
        if not self.per_channel:
            return ", per tensor"
        scales = "" if self.per_channel_dense else ", dense layers per tensor"
        return f"{scales}, with several scales for each channel" if self.takes_scales else scales

    @property
    def rounding_passes(self) -> tuple[WeightGranularity, ...]:
        """The granularity of each pass of rounding.

        If the quantizer takes scales, a second pass rounds small layers again, with several scales for each channel.
        """
        return (replace(self, takes_scales=False), self) if self.takes_scales else (self,)

    def scales(self, layer: Layer, matrices: np.ndarray) -> np.ndarray:
        """Return the scales of the layer's weights, [groups, outputs]; `matrices` is [groups, outputs, inputs]."""
        return scales(matrices, self.is_per_channel(layer))

    def is_per_channel(self, layer: Layer) -> bool:
        """Whether each output of the layer has a scale of its own."""
        return self.per_channel and (self.per_channel_dense or layer.operator.type != DENSE)


def layers(content: FileContent) -> Iterator[Layer]:
    """Yield the layers of the main subgraph of the float32 file, in its order.

    Weights that several ops read are left out, since one change may not suit all of these ops.
    """
    (subgraph, *_), (options, *_) = read(content).subgraphs, operator_options(content)
    readers = Counter(index for operator in subgraph.operators for index in operator.inputs)
    for operator, own_options in zip(subgraph.operators, options, strict=True):
        roles = ROLES.get(operator.type)
        if roles is None or operator.type == "CONV_3D":
            continue
        activation, weights = subgraph.input(operator, roles.activation), subgraph.input(operator, roles.weights)
        if activation is None or weights is None:
            continue
        layer = Layer(operator, activation, weights, subgraph.input(operator, roles.bias), own_options)
        if readers[weights.index] == 1 and _is_supported(layer):
            yield layer


def _is_supported(layer: Layer) -> bool:
    """Whether weights and bias are float constants, and each output channel reads all input channels or one of them."""
    constants = [tensor for tensor in (layer.weights, layer.bias) if tensor is not None]
    if layer.activation.is_constant or not all(t.is_constant and t.dtype == "float32" for t in constants):
        return False
    channels, shape = (layer.activation.shape or (0,))[-1], layer.weights.shape
    if layer.weights.is_sparse or not channels:
        return False
    if layer.operator.type == GROUPED:
        return shape[-1] % channels == 0
    return layer.operator.type == DENSE or shape[-1] == channels
