"""Equalization of channels before quantization-aware training (Nagel et al. 2019, arXiv:1906.04721, section 4.1).

All channels of an activation share one scale. So a layer multiplies its small channels, and the layers that read them
divide. Between the two is only what passes on a positive factor, such as ReLU. The outputs stay the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflq.channel_factors import EQUALIZATION_STRENGTH, channel_factors
from tflq.training.graph import LayerCopies, LayerGraph

LEAST_RATIO = 8.0
"""The least ratio of the largest channel to another one. With less, an activation is left as it is."""
OUTPUT_AXES = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "SeparableConv1D", "SeparableConv2D"), -1),
    "Conv2DTranspose": -2,
}
"""Layer → the axis of the output channels in its last kernel."""
INPUT_AXES = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "SeparableConv1D", "SeparableConv2D", "DepthwiseConv2D"), -2),
    "Conv2DTranspose": -1,
}
"""Layer → the axis of the input channels in its first kernel."""
PASSING = {
    *("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D", "GlobalMaxPooling1D"),
    *("GlobalMaxPooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "ZeroPadding1D", "ZeroPadding2D"),
    *("LeakyReLU", "UpSampling1D", "UpSampling2D", "Dropout", "SpatialDropout1D", "SpatialDropout2D"),
}
"""The layers without an activation that pass on a positive factor of a channel. A ReLU without a maximum also does."""


@dataclass(frozen=True)
class _Link:
    """A layer that makes an activation, and those that read it."""

    producer: Any
    consumers: tuple[Any, ...]
    tensor: Any
    """The activation that the consumers read, [batch, …, channels]."""


@dataclass(frozen=True)
class _ChannelSizes:
    """The sizes of the channels of one activation on samples, [channels]."""

    largest: np.ndarray
    count: np.ndarray
    """The number of values other than 0."""


def equalized(model: Any, batches: Iterable[Sequence[np.ndarray]], skipped: Collection[str]) -> Any:
    """Return a copy of the model whose activations have channels of more equal sizes. The outputs stay the same.

    A batch has an array [size, …] for each input of the model. The `skipped` layers keep their weights.
    """
    copy = LayerGraph(model).rebuilt(LayerCopies().call)
    links = list(_links(LayerGraph(copy), skipped))
    for link, sizes in zip(links, _observed(copy, links, batches), strict=True):
        factor = _factors(sizes)
        if factor is not None:
            _multiply(link.producer, factor)
            for consumer in link.consumers:
                _divide(consumer, factor)
    return copy


def _links(graph: LayerGraph, skipped: Collection[str]) -> Iterator[_Link]:
    users, calls = graph.users(), graph.calls()
    readers = {id(tensor): node for node in graph.nodes() for tensor in node.keras_inputs}

    def is_usable(layer: Any) -> bool:
        return layer is not None and calls[layer.name] == 1 and layer.name not in skipped

    for node in graph.nodes():
        if not is_usable(node.layer) or not _can_multiply(node.layer):
            continue
        tensor = node.outputs
        found = users.get(id(tensor), [])
        while len(found) == 1 and is_usable(found[0]) and _passes(found[0]):
            tensor = readers[id(tensor)].outputs
            found = users.get(id(tensor), [])
        if found and all(is_usable(layer) and _can_divide(layer) for layer in found):
            yield _Link(node.layer, tuple(found), tensor)


def _kind(layer: Any) -> str:
    return str(layer.__class__.__name__)


def _is_last_axis(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last" and getattr(layer, "groups", 1) == 1


def _can_multiply(layer: Any) -> bool:
    """Return whether a factor of an output channel can be put into the weights of the layer."""
    if _kind(layer) == "BatchNormalization":
        return bool(layer.scale) and list(layer.axis) == [len(layer.input_shape) - 1]
    is_weighted = _kind(layer) in OUTPUT_AXES or _kind(layer) == "DepthwiseConv2D"
    return is_weighted and _is_last_axis(layer) and layer.activation.__name__ in ("linear", "relu")


def _can_divide(layer: Any) -> bool:
    return _kind(layer) in INPUT_AXES and _is_last_axis(layer)


def _passes(layer: Any) -> bool:
    if _kind(layer) == "ReLU":
        return layer.max_value is None and not layer.threshold
    if _kind(layer) == "Activation":
        return layer.activation.__name__ in ("linear", "relu")
    return _kind(layer) in PASSING and _is_last_axis(layer)


def _observed(model: Any, links: Sequence[_Link], batches: Iterable[Sequence[np.ndarray]]) -> list[_ChannelSizes]:
    import tf_keras

    if not links:
        return []
    observer = tf_keras.Model(model.inputs, [link.tensor for link in links])
    sizes = [_ChannelSizes(np.zeros(link.tensor.shape[-1]), np.zeros(link.tensor.shape[-1])) for link in links]
    for arrays in batches:
        values = observer(list(arrays), training=False)
        for number, value in enumerate(values if len(links) > 1 else [values]):
            magnitude = np.abs(np.asarray(value)).reshape(-1, value.shape[-1])
            before = sizes[number]
            largest = np.maximum(before.largest, magnitude.max(0))
            sizes[number] = _ChannelSizes(largest, before.count + np.count_nonzero(magnitude, 0))
    return sizes


def _factors(sizes: _ChannelSizes) -> np.ndarray | None:
    """Return the factors of the channels, [channels], at least 1; None if their sizes are much the same."""
    factors = channel_factors(sizes.largest, sizes.count)
    return factors if factors is not None and factors.max() >= LEAST_RATIO**EQUALIZATION_STRENGTH else None


def _multiply(layer: Any, factor: np.ndarray) -> None:
    weights = layer.get_weights()
    if _kind(layer) == "BatchNormalization":
        count = 1 + bool(layer.center)  # gamma, beta
        layer.set_weights([*(one * factor for one in weights[:count]), *weights[count:]])
        return
    bias = [weights.pop() * factor] if layer.use_bias else []
    if _kind(layer) == "DepthwiseConv2D":
        weights[-1] = weights[-1] * factor.reshape(weights[-1].shape[-2:])
    else:
        weights[-1] = weights[-1] * (factor if OUTPUT_AXES[_kind(layer)] == -1 else factor[:, np.newaxis])
    layer.set_weights([*weights, *bias])


def _divide(layer: Any, factor: np.ndarray) -> None:
    first, *others = layer.get_weights()
    layer.set_weights([first / (factor if INPUT_AXES[_kind(layer)] == -1 else factor[:, np.newaxis]), *others])
