"""Channels of very different sizes are made alike before quantization-aware training, and the outputs stay the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tf_keras

from tflq.channel_factors import MAX_FACTOR, VALUES_PER_GAIN
from tflq.training.equalization import LEAST_RATIO, equalized

L = tf_keras.layers
SPREAD = np.geomspace(1, 1e3, 8)
"""The factors of the channels that a test spreads."""


def network(ceiling: float | None = None, activation: str = "linear") -> Any:
    """Return a network; with `ceiling` or another activation, no channel may be scaled."""
    tf_keras.utils.set_random_seed(0)
    x = L.Input((8, 8, 3))
    y = L.BatchNormalization(name="stem_norm")(L.Conv2D(8, 3, use_bias=False, name="stem")(x))
    y = L.MaxPooling2D()(L.ReLU(ceiling)(y))
    y = L.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation=activation, name="deep")(y)
    y = L.ReLU(ceiling)(y)
    y = L.Add()([L.Conv2D(5, 1, name="left")(y), L.SeparableConv2D(5, 1, name="right")(y)])
    y = L.Conv2DTranspose(8, 3, activation="relu" if ceiling is None else "elu", name="up")(y)
    model = tf_keras.Model(x, L.Dense(4, name="scores")(L.GlobalAveragePooling2D()(y)))
    spread(model.get_layer("stem_norm"), 0, SPREAD)
    spread(model.get_layer("up"), 0, SPREAD[:, np.newaxis])
    return model


def spread(layer: Any, index: int, factor: np.ndarray) -> None:
    weights = layer.get_weights()
    weights[index] = weights[index] * factor
    layer.set_weights(weights)


def batches(count: int = 16) -> list[list[np.ndarray]]:
    random = np.random.default_rng(0)
    return [[random.normal(0, 1, (8, 8, 8, 3)).astype(np.float32)] for _ in range(count)]


def sizes(model: Any, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest value of each channel that the layer reads, and the number of values other than 0."""
    read = tf_keras.Model(model.input, model.get_layer(layer).input)
    values = np.abs(np.concatenate([read(arrays[0]) for arrays in batches()])).reshape(-1, read.output_shape[-1])
    return values.max(0), np.count_nonzero(values, 0)


def test_channels_become_alike_and_outputs_stay_the_same() -> None:
    model = network()
    made = equalized(model, batches(), ())
    (samples,) = batches(1)[0]
    wanted = np.asarray(model(samples))
    np.testing.assert_allclose(made(samples), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    for layer in ("deep", "left"):
        (before, count), (after, _) = sizes(model, layer), sizes(made, layer)
        seen = count >= VALUES_PER_GAIN * MAX_FACTOR  # a channel with fewer values may be larger on other data
        assert np.ptp(np.log(before[seen])) > np.ptp(np.log(after[seen])) + np.log(10)
        assert np.all(after <= before * np.maximum(count / VALUES_PER_GAIN, 1) * 1.001)
    kernels = (one.get_layer("scores").get_weights()[0] for one in (model, made))
    assert not np.allclose(*kernels)


@pytest.mark.parametrize("changed", [{"ceiling": 6.0}, {"activation": "tanh"}])
def test_only_what_passes_on_a_factor_is_scaled(changed: dict[str, Any]) -> None:
    model = network(**changed)
    made = equalized(model, batches(), ())
    fixed = ("stem", "left", "right", "up", "scores") if changed.get("ceiling") else ("left", "right")
    for layer in fixed:
        for before, after in zip(
            model.get_layer(layer).get_weights(), made.get_layer(layer).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(before, after)


def test_skipped_layers_keep_their_weights() -> None:
    model = network()
    made = equalized(model, batches(), ("deep", "up"))
    for one, other in zip(model.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_channels_that_are_much_the_same_stay_as_they_are() -> None:
    x = L.Input((8, 8, 3))
    model = tf_keras.Model(x, L.Conv2D(4, 1)(L.Conv2D(8, 1, activation="relu", name="first")(x)))
    kernel, bias = model.get_layer("first").get_weights()
    model.get_layer("first").set_weights([np.ones_like(kernel) * np.geomspace(1, LEAST_RATIO / 2, 8), bias])
    made = equalized(model, batches(), ())
    np.testing.assert_array_equal(model.get_weights()[0], made.get_weights()[0])
