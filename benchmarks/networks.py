"""Small networks of three kinds, trained for a few minutes on pictures of 32 × 32 with ten classes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

EPOCHS = {"plain": 4, "residual": 4, "mobilenet_v2": 6}
HELD = 2000
"""Rows at the end that no network is trained on."""


def trained(data: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Each network, trained in a process of its own, and rows that it has not seen."""
    with np.load(data) as held:
        np.savez(folder / "unseen.npz", image=_scaled(held["image"][-HELD:])[:450])
    for name in EPOCHS:
        target = folder / f"{name}.keras"
        subprocess.run([sys.executable, "-m", "benchmarks.networks", name, data, target], check=True)
        yield target, folder / "unseen.npz"


def _scaled(pictures: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = pictures.astype(np.float32) / 127.5 - 1
    return scaled


def main(name: str, data: str, target: str) -> None:
    import tensorflow as tf

    keras = tf.keras
    keras.utils.set_random_seed(0)
    with np.load(data) as held:
        pictures, labels = _scaled(held["image"][:-HELD]), held["label"][:-HELD].astype(np.int64)
    image = keras.Input((32, 32, 3), name="image")
    features = {"plain": _plain, "residual": _residual, "mobilenet_v2": _mobilenet}[name](keras, image)
    network = keras.Model(image, keras.layers.Dense(10, name="logits")(features))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    network.fit(pictures, labels, 64, EPOCHS[name], verbose=0)
    network.save(target)


def _plain(keras: Any, x: Any) -> Any:
    layers = keras.layers
    for filters, strides in ((32, 1), (32, 2), (64, 1), (64, 2), (96, 1)):
        x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return layers.GlobalAveragePooling2D()(x)


def _residual(keras: Any, x: Any) -> Any:
    """With swish, and weights for channels from a squeeze and an excitation."""
    layers = keras.layers
    x = layers.Conv2D(24, 3, padding="same")(x)
    for filters, strides in ((24, 1), (48, 2), (48, 1), (96, 2)):
        y = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(layers.Activation("swish")(x))
        y = layers.Activation("swish")(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
        squeezed = layers.Conv2D(max(4, filters // 8), 1, activation="relu")(
            layers.GlobalAveragePooling2D(keepdims=True)(y)
        )
        excited = layers.Conv2D(filters, 1, activation="sigmoid")(squeezed)
        x = layers.Add()([layers.Multiply()([y, excited]), layers.Conv2D(filters, 1, strides)(x)])
    return layers.GlobalAveragePooling2D()(x)


def _mobilenet(keras: Any, x: Any) -> Any:
    network = keras.applications.MobileNetV2(
        input_shape=(64, 64, 3), alpha=0.35, include_top=False, weights=None, pooling="avg"
    )
    return network(keras.layers.UpSampling2D(2)(x))


if __name__ == "__main__":
    main(*sys.argv[1:])
