"""scikit-learn's handwritten digits as images, and a training on them that gives the same network each time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 0
EPOCHS = 20
BATCH = 32
Split = tuple[np.ndarray, np.ndarray]
"""Images and their labels."""


def digit_images() -> Split:
    """The 1797 images, uint8 [8, 8, 1] from 0 (paper) to 255 (ink), and their labels."""
    digits = load_digits()
    return np.rint(digits.images[..., np.newaxis] * (255 / 16)).astype(np.uint8), digits.target


def split_off(split: Split, count: int) -> tuple[Split, Split]:
    """The split without `count` random images, and these, with labels in the same proportions."""
    images, labels = split
    rest, taken, rest_labels, taken_labels = train_test_split(
        images, labels, test_size=count, random_state=SEED, stratify=labels
    )
    return (rest, rest_labels), (taken, taken_labels)


def scaled(images: np.ndarray) -> np.ndarray:
    """float32 from 0 to 1."""
    return images.astype(np.float32) / 255


def make_reproducible() -> None:
    """Seed everything that is random; call it before a network is built."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()


def fit(model: Any, split: Split, rate: float, metrics: list[str] | None = None) -> None:
    """Train the network, with a learning rate that decays from `rate` to 0."""
    import keras

    images, labels = split
    steps = EPOCHS * math.ceil(len(images) / BATCH)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=metrics,
    )
    model.fit(scaled(images), labels, batch_size=BATCH, epochs=EPOCHS, verbose=0)
