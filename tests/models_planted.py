"""Makes models each of which one thing alone spoils as integers: `python tests/models_planted.py FOLDER`.

Each is a function that is called as its folder is; their data are beside them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

RANDOM = np.random.default_rng(0)
WIDTH = 32


def dense(inputs: int, outputs: int) -> tf.Variable:
    return tf.Variable(RANDOM.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32))


def save(
    path: Path, function: Callable[[tf.Tensor], tf.Tensor], shape: tuple[int | None, ...], *held: tf.Variable
) -> None:
    module = tf.Module()
    module.held = held
    spec = tf.TensorSpec(shape, tf.float32, name="x")
    serve = tf.function(lambda x: {"y": function(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})


def gains(*loud: int, gain: float = 1000.0) -> np.ndarray:
    """Factors of channels, a few of them large."""
    factors = np.ones(WIDTH, np.float32)
    factors[[*loud]] = gain
    return factors


def outlier(path: Path) -> None:
    """One channel of a product is a thousand times as large as the others, which the op behind makes good again."""
    first, second, third = dense(16, WIDTH), dense(WIDTH, WIDTH), dense(WIDTH, 8)
    loud = gains(5)

    def serve(x: tf.Tensor) -> tf.Tensor:
        h = tf.nn.relu(tf.matmul(x, first))
        louder = tf.abs(h * loud)
        return tf.matmul(tf.nn.relu(tf.matmul(louder, second / loud[:, np.newaxis])), third)

    save(path, serve, (None, 16), first, second, third)


def spread(path: Path) -> None:
    """A layer's largest weights, of what is always zero to what nobody reads, cost one scale for all the others."""
    first, second, third = dense(16, WIDTH), dense(WIDTH, WIDTH), dense(WIDTH, 8)
    first.assign(first * np.where(np.arange(WIDTH) == 3, 0, 1))
    weights = second.numpy()
    weights[:, 7], weights[3, 7] = 0, 1000
    second.assign(weights)

    def serve(x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, first)), second)), third)

    save(path, serve, (None, 16), first, second, third)


def unlike(path: Path) -> None:
    """A concatenation gives both its parts one scale, and one of them is a thousand times as large as the other."""
    first, second, third = dense(16, WIDTH), dense(16, WIDTH), dense(2 * WIDTH, 8)

    def serve(x: tf.Tensor) -> tf.Tensor:
        quiet, loud = tf.nn.relu(tf.matmul(x, first)), 1000 * tf.nn.relu(tf.matmul(x, second))
        factors = np.repeat(np.float32([1, 1e-3]), WIDTH)[:, np.newaxis]
        return tf.matmul(tf.concat([quiet, loud], 1), third * factors)

    save(path, serve, (None, 16), first, second, third)


def plain(path: Path) -> None:
    """Nothing is wrong with it: its calibration data has one sample that is."""
    first, second = dense(16, WIDTH), dense(WIDTH, 8)
    save(path, lambda x: tf.matmul(tf.nn.relu(tf.matmul(x, first)), second), (None, 16), first, second)


def digits(path: Path) -> None:
    """Reads digits: convolutions as they fall, and the last layer by least squares; one gain is too large."""
    pictures, labels = read_digits()
    kernels = tf.Variable(RANDOM.normal(0, 0.4, (3, 3, 1, 24)).astype(np.float32))
    deeper = tf.Variable(RANDOM.normal(0, 0.1, (3, 3, 24, WIDTH)).astype(np.float32))
    loud = gains(*range(4), gain=40.0)

    def features(x: tf.Tensor, factors: np.ndarray) -> tf.Tensor:
        h = tf.nn.relu(tf.nn.conv2d(x, kernels, 1, "SAME"))
        h = tf.nn.relu(tf.nn.conv2d(h, deeper, 2, "SAME"))
        return tf.reshape(tf.abs(h * factors), (-1, 16 * WIDTH))

    held = np.array(features(pictures[::2], gains())).astype(np.float64)
    held = np.hstack([held, np.ones((len(held), 1))])
    solved = np.linalg.solve(held.T @ held + 3 * np.eye(held.shape[1]), held.T @ np.eye(10)[labels[::2]])
    last = tf.Variable((solved[:-1] / np.tile(loud, 16)[:, np.newaxis]).astype(np.float32))
    bias = solved[-1].astype(np.float32)
    save(path, lambda x: tf.matmul(features(x, loud), last) + bias, (None, 8, 8, 1), kernels, deeper, last)


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    found = load_digits()
    return (found.images[..., np.newaxis] / 16).astype(np.float32), found.target


def data(folder: Path) -> None:
    x = RANDOM.normal(0, 1, (600, 16)).astype(np.float32)
    np.savez(folder / "calibration.npz", x=x[:200])
    np.savez(folder / "evaluation.npz", x=x[200:])
    poisoned = x[:200].copy()
    poisoned[17] *= 500
    np.savez(folder / "poisoned.npz", x=poisoned)
    pictures, labels = read_digits()
    np.savez(folder / "digits_calibration.npz", x=pictures[::2][:200])
    np.savez(folder / "digits_evaluation.npz", x=pictures[1::2], label=labels[1::2])


def main() -> None:
    folder = Path(sys.argv[1])
    for make in (outlier, spread, unlike, plain, digits):
        make(folder / make.__name__)
    data(folder)


if __name__ == "__main__":
    main()
