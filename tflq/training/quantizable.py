"""Rewrite a tf-keras model into layers that TensorFlow Model Optimization can quantize; its outputs stay the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tflq.training.graph import LayerCopies, LayerGraph, call_with_weights
from tflq.training.rescaling import is_rescaling, rescaled

BATCH_NORMALIZATIONS = ("BatchNormalization", "SyncBatchNormalization")
CHANNEL_AXES = {
    "Dense": (0, -1),
    "Conv1D": (0, -1),
    "Conv2DTranspose": (0, -2),
    "SeparableConv1D": (1, -1),
    "SeparableConv2D": (1, -1),
}
"""Layer → which of its weights is scaled by a batch normalization that follows, and the axis of its channels."""
FOLDED_BY_TFMOT = ("Conv2D", "DepthwiseConv2D")
ACTIVATIONS = ("linear", "relu", "softmax", "sigmoid", "tanh", "swish", "gelu")
"""The activations that TensorFlow Model Optimization takes as a part of another layer."""


def make_quantizable(model: Any, skipped: Collection[str]) -> Any:
    """Return the model with other layers in place of those that cannot be quantized.

    One-dimensional and separable convolutions become convolutions of two dimensions. A batch normalization is folded
    into the layer before it, or becomes a depthwise convolution. The `skipped` layers stay as they are.
    """
    return LayerGraph(model).rebuilt(_Rewriter(LayerGraph(model), frozenset(skipped)).replace)


@dataclass
class _Rewriter:
    graph: LayerGraph
    skipped: Collection[str]
    copies: LayerCopies = field(default_factory=LayerCopies)

    def __post_init__(self) -> None:
        self.calls = self.graph.calls()
        self.folded, self.left_to_tfmot = self._normalizations()

    def _normalizations(self) -> tuple[dict[str, Any], set[str]]:
        """Return layer → the batch normalization to fold into it, and the names of those that tfmot folds."""
        producers, users = self.graph.producers(), self.graph.users()
        folded: dict[str, Any] = {}
        left: set[str] = set()
        for node in self.graph.nodes():
            (tensor, *more) = node.keras_inputs
            before = producers.get(id(tensor))
            if not is_normalization(node.layer) or more or before is None or len(users[id(tensor)]) > 1:
                continue
            is_linear = getattr(getattr(before, "activation", None), "__name__", "") == "linear"
            if not is_linear or {node.layer.name, before.name} & set(self.skipped) or not self._is_last_axis(node):
                continue
            if before.__class__.__name__ in FOLDED_BY_TFMOT:
                left.add(node.layer.name)
            elif (
                before.__class__.__name__ in CHANNEL_AXES
                and self.calls[before.name] == self.calls[node.layer.name] == 1
            ):
                folded[before.name] = node.layer
        return folded, left

    def _copied(self, layer: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        if layer.__class__.__name__ == "Normalization" and layer.name not in self.copies.copies:
            self.copies.copies[layer.name] = _with_constants(layer)
        return self.copies.call(layer, arguments, options)

    @staticmethod
    def _is_last_axis(node: Any) -> bool:
        return list(node.layer.axis) == [len(node.keras_inputs[0].shape) - 1]

    def replace(self, layer: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        kind = layer.__class__.__name__
        if layer.name in self.skipped or self.calls[layer.name] > 1:
            return self._copied(layer, arguments, options)
        if is_rescaling(layer):
            return rescaled(layer, arguments[0])
        if any(layer is folded for folded in self.folded.values()):
            return arguments[0]
        if is_normalization(layer) and layer.name not in self.left_to_tfmot and _can_be_depthwise(layer, arguments[0]):
            return _as_depthwise(layer, arguments[0])
        if kind in CHANNEL_AXES or kind in FOLDED_BY_TFMOT:
            return _rewritten(_Weighted.of(layer, self.folded.get(layer.name)), arguments[0])
        return self.copies.call(layer, arguments, options)


def is_normalization(layer: Any) -> bool:
    return layer.__class__.__name__ in BATCH_NORMALIZATIONS


@dataclass(frozen=True)
class _Weighted:
    """A layer with weights: its kind, its configuration and its weights after folding."""

    kind: Any
    config: Mapping[str, Any]
    weights: Sequence[np.ndarray]
    activation: Any
    """The activation that becomes a layer of its own; None if the layer keeps it."""

    @classmethod
    def of(cls, layer: Any, normalization: Any | None) -> _Weighted:
        config, weights, activation = dict(layer.get_config()), layer.get_weights(), None
        if layer.activation.__name__ not in ACTIVATIONS:
            activation, config["activation"] = layer.activation, "linear"
        if normalization is not None:
            scale, shift = scale_and_shift(normalization)
            bias = weights.pop() if config["use_bias"] else np.zeros_like(scale)
            index, axis = CHANNEL_AXES[layer.__class__.__name__]
            weights[index] = weights[index] * (scale if axis == -1 else scale[:, np.newaxis])
            weights.append(bias * scale + shift)
            config["use_bias"] = True
        return cls(layer.__class__, config, weights, activation)


def scale_and_shift(normalization: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return what a batch normalization multiplies by and what it adds, for each channel."""
    mean, variance = normalization.moving_mean.numpy(), normalization.moving_variance.numpy()
    scale = 1 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        scale = scale * normalization.gamma.numpy()
    shift = -mean * scale
    return scale, shift + normalization.beta.numpy() if normalization.center else shift


def _rewritten(layer: _Weighted, x: Any) -> Any:
    import tf_keras

    name, kind = layer.config["name"], layer.kind.__name__
    if layer.config.get("data_format", "channels_last") != "channels_last":
        y = call_with_weights(layer.kind.from_config(layer.config), layer.weights, x)
    elif kind in ("Conv1D", "SeparableConv1D"):
        y = _in_two_dimensions(layer, x)
    elif kind == "SeparableConv2D":
        y = _separated(layer.config, layer.weights, x)
    else:
        y = call_with_weights(layer.kind.from_config(layer.config), layer.weights, x)
    return y if layer.activation is None else tf_keras.layers.Activation(layer.activation, name=f"{name}_activation")(y)


def _in_two_dimensions(layer: _Weighted, x: Any) -> Any:
    """Return the output of a one-dimensional convolution, computed as one of height 1."""
    import tf_keras

    config, layers = dict(layer.config), tf_keras.layers
    name, (size,), (stride,), (dilation,) = (
        config["name"],
        *(tuple(config[key]) for key in ("kernel_size", "strides", "dilation_rate")),
    )
    if config["padding"] == "causal":
        x = layers.ZeroPadding1D((dilation * (size - 1), 0), name=f"{name}_padding")(x)
        config["padding"] = "valid"
    x = layers.Reshape((1, -1, x.shape[-1]), name=f"{name}_height")(x)
    config |= {"kernel_size": (1, size), "strides": (stride, stride), "dilation_rate": (1, dilation)}
    *kernels, last = layer.weights
    weights = [*(k[np.newaxis] for k in kernels), last if last.ndim == 1 else last[np.newaxis]]
    if layer.kind.__name__ == "Conv1D":
        y = call_with_weights(layers.Conv2D.from_config(config), weights, x)
    else:
        y = _separated(config, weights, x)
    return layers.Reshape((-1, y.shape[-1]), name=f"{name}_length")(y)


def _separated(config: Mapping[str, Any], weights: Sequence[np.ndarray], x: Any) -> Any:
    """Return the output of a separable convolution, computed as a depthwise one and one of size 1."""
    import tf_keras

    geometry = {key: config[key] for key in ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")}
    name, (first, *others) = config["name"], weights
    depthwise = tf_keras.layers.DepthwiseConv2D(**geometry, use_bias=False, name=f"{name}_depthwise")
    x = call_with_weights(depthwise, [first], x)
    pointwise = tf_keras.layers.Conv2D(
        config["filters"], 1, use_bias=config["use_bias"], activation=config["activation"], name=name
    )
    return call_with_weights(pointwise, others, x)


def _can_be_depthwise(normalization: Any, x: Any) -> bool:
    return len(x.shape) in (2, 3, 4) and list(normalization.axis) == [len(x.shape) - 1]


def _as_depthwise(normalization: Any, x: Any) -> Any:
    """Return the output of a batch normalization, computed as a depthwise convolution of size 1."""
    import tf_keras

    layers, name, rank, channels = tf_keras.layers, normalization.name, len(x.shape), x.shape[-1]
    if rank < 4:
        x = layers.Reshape((1, 1 if rank == 2 else -1, channels), name=f"{name}_height")(x)
    scale, shift = scale_and_shift(normalization)
    y = call_with_weights(layers.DepthwiseConv2D(1, name=name), [scale.reshape(1, 1, -1, 1), shift], x)
    if rank == 4:
        return y
    return layers.Reshape((channels,) if rank == 2 else (-1, channels), name=f"{name}_length")(y)


def _with_constants(layer: Any) -> Any:
    """Return the Normalization with its mean and variance in its configuration, so that a copy of it has them."""
    config = dict(layer.get_config())
    if layer.input_mean is None:
        mean, variance = (value.numpy().tolist() for value in (layer.adapt_mean, layer.adapt_variance))
        config |= {"mean": mean, "variance": variance}
    return layer.__class__.from_config(config)
