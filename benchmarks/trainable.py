"""Networks of one kind of layer each, trained for some epochs on scikit-learn's handwritten digits, in Keras 2 or 3.

`python -m benchmarks.trainable FOLDER` writes each as FOLDER/NAME.h5 or .keras, and the digits as FOLDER/digits.npz.
TF_USE_LEGACY_KERAS=1 selects Keras 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("Dense", "Conv1D", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose")
SHAPES = ("residual", "concatenation", "nested", "normalization in front")
NAMES = (*KINDS, *(f"{kind} normalized" for kind in KINDS), *SHAPES)
"""The layers alone, the layers with batch normalization and ReLU, and four shapes of networks."""
EPOCHS, TRAINED = 8, 1400


def network(kit: Any, name: str, images: np.ndarray) -> Any:
    """Return a network of a convolution, the layers of that name, and a dense layer: [batch, 8, 8, 1] → logits."""
    layers = kit.layers
    image = kit.Input((8, 8, 1), name="image")
    x = image
    if name == "normalization in front":
        normalization = layers.Normalization(name="front")
        normalization.adapt(images)
        x = normalization(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(x)
    x = _middle(kit, name, x)
    return kit.Model(image, layers.Dense(10, name="scores")(layers.Flatten()(x)))


def _middle(kit: Any, name: str, x: Any) -> Any:
    layers = kit.layers
    if name == "residual":
        return layers.Add()([x, layers.Conv2D(8, 3, padding="same", activation="relu", name="branch")(x)])
    if name == "concatenation":
        return layers.Concatenate()([x, layers.Conv2D(4, 1, activation="relu", name="branch")(x)])
    if name == "nested":
        inner = kit.Input((8, 8, 8))
        body = layers.Conv2D(8, 3, strides=2, activation="relu", name="inside")(inner)
        return kit.Model(inner, body, name="body")(x)
    kind, _, normalized = name.partition(" ")
    if kind == "Conv1D":
        x = layers.Reshape((64, 8), name="line")(x)
    if kind == "Dense":
        x = layers.Flatten(name="flat")(layers.MaxPooling2D()(x))
    x = _layer(layers, kind, None if normalized else "relu")(x) if name in NAMES[:12] else x
    return layers.ReLU(name="rectified")(layers.BatchNormalization(name="norm")(x)) if normalized == "normalized" else x


def _layer(layers: Any, kind: str, activation: str | None) -> Any:
    if kind == "Dense":
        return layers.Dense(32, activation=activation, name="middle")
    if kind == "DepthwiseConv2D":
        return layers.DepthwiseConv2D(3, activation=activation, name="middle")
    return getattr(layers, kind)(8, 3, activation=activation, name="middle")


def main(folder: Path) -> None:
    import tensorflow as tf
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = (digits.images[order] / 16).astype(np.float32)[..., np.newaxis]
    labels = digits.target[order].astype(np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", slice(0, TRAINED)), ("test", slice(TRAINED, None))):
        np.savez(folder / f"{name}.npz", image=images[rows], label=labels[rows])
    suffix = ".h5" if os.environ.get("TF_USE_LEGACY_KERAS") else ".keras"
    for name in NAMES:
        tf.keras.utils.set_random_seed(0)
        model = network(tf.keras, name, images[:TRAINED])
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(tf.keras.optimizers.Adam(2e-3), loss)
        model.fit(images[:TRAINED], labels[:TRAINED], epochs=EPOCHS, verbose=0)
        model.save(folder / f"{name.replace(' ', '_')}{suffix}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
