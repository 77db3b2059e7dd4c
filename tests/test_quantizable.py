"""Models are rewritten into layers that can be quantized, and give the same outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tf_keras

from tflq.training.quantizable import make_quantizable

L = tf_keras.layers


def vectors() -> Any:
    normalization = L.Normalization(name="front")
    normalization.adapt(np.random.default_rng(1).normal(3, 5, (64, 8)).astype(np.float32))
    front = [
        normalization,
        L.Rescaling(0.5, [1.0] * 8, name="rescale"),
        L.Normalization(mean=2, variance=4, invert=True),
    ]
    layers = [*front, L.Dense(6, use_bias=False, name="hidden"), L.BatchNormalization(name="norm"), L.ReLU()]
    return tf_keras.Sequential([tf_keras.Input((8,)), *layers, L.BatchNormalization(name="after"), L.Dense(3)])


def signals() -> Any:
    x = L.Input((12, 4))
    y = L.Conv1D(6, 3, padding="causal", dilation_rate=2, name="conv")(x)
    y = L.ReLU()(L.BatchNormalization(name="norm")(y))
    y = L.SeparableConv1D(5, 3, strides=2, padding="same", activation="elu", name="sep")(y)
    return tf_keras.Model(x, L.Dense(3)(L.Flatten()(L.BatchNormalization(name="after")(y))))


def images() -> Any:
    x = L.Input((6, 6, 3))
    y = L.SeparableConv2D(4, 3, padding="same", name="sep")(x)
    y = L.LeakyReLU()(L.BatchNormalization(name="norm")(y))
    y = L.BatchNormalization(name="after")(L.Add()([y, y]))
    y = L.Conv2DTranspose(5, 3, strides=2, name="up")(y)
    y = L.BatchNormalization(name="up_norm")(y)
    y = L.BatchNormalization(name="conv_norm")(L.Conv2D(4, 3, name="conv")(y))
    return tf_keras.Model(x, y)


def pictures_in_bytes() -> Any:
    x = L.Input((6, 6, 3), dtype="uint8")
    y = L.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0], name="front")(
        L.Rescaling(1 / 255, name="one")(x)
    )
    return tf_keras.Model(x, L.Conv2D(4, 3, name="conv")(y))


EXPECTED = {
    pictures_in_bytes: {"one": "Rescaling", "front_offset": "Rescaling", "front": "Rescaling", "conv": "Conv2D"},
    vectors: {
        "front_offset": "Rescaling",
        "front": "Rescaling",
        "rescale_scale": "Rescaling",
        "norm": None,
        "after": "DepthwiseConv2D",
        "hidden": "Dense",
    },
    signals: {"norm": None, "conv": "Conv2D", "sep_depthwise": "DepthwiseConv2D", "sep_activation": "Activation"},
    images: {"norm": None, "up_norm": None, "conv_norm": "BatchNormalization", "sep": "Conv2D"},
}
"""Model → the kinds of its layers after rewriting; None if the layer is folded into another."""


@pytest.mark.parametrize("make", EXPECTED)
def test_rewritten_layers_give_the_same_outputs(make: Callable[[], Any]) -> None:
    model, random = make(), np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    rewritten = make_quantizable(model, ())
    samples = random.normal(0, 1, (2, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(rewritten(samples), model(samples), rtol=1e-4, atol=1e-5)
    kinds = {layer.name: layer.__class__.__name__ for layer in rewritten.layers}
    assert {name: kinds.get(name) for name in EXPECTED[make]} == EXPECTED[make]


def test_skipped_layers_stay_as_they_are() -> None:
    rewritten = make_quantizable(signals(), ["conv", "sep"])
    kinds = {layer.name: layer.__class__.__name__ for layer in rewritten.layers}
    assert (kinds["conv"], kinds["sep"]) == ("Conv1D", "SeparableConv1D")


def test_a_skipped_normalization_that_is_called_twice_keeps_its_statistics() -> None:
    x, normalization = L.Input((8,)), L.Normalization(name="front")
    normalization.adapt(np.random.default_rng(1).normal(3, 5, (64, 8)).astype(np.float32))
    model = tf_keras.Model(x, L.Add()([normalization(x), normalization(L.ReLU()(x))]))
    samples = np.random.default_rng(0).normal(0, 1, (2, 8)).astype(np.float32)
    np.testing.assert_allclose(make_quantizable(model, ["front"])(samples), model(samples), rtol=1e-5)
