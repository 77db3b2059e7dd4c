"""Makes models that some mode ruins, each in one way: `python tests/models_ruined.py FOLDER`.

Each is a function that is called as its folder is; all take the same input.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import numpy as np
import tensorflow as tf
from models_planted import dense, save

RANDOM = np.random.default_rng(1)
WIDTH = 16
PRESSURE = 101_325.0


def detection(path: Path) -> None:
    """Four boxes in pixels beside six scores from 0 to 1, in one output."""
    features, boxes, scores = dense(WIDTH, 32), dense(32, 4), dense(32, 6)

    def serve(x: tf.Tensor) -> tf.Tensor:
        h = tf.nn.relu(tf.matmul(x, features))
        return tf.concat([640 * tf.sigmoid(tf.matmul(h, boxes)), tf.sigmoid(tf.matmul(h, scores))], 1)

    save(path, serve, (None, WIDTH), features, boxes, scores)


def pressure(path: Path) -> None:
    """The first thing is to subtract a mean that float16 cannot hold; the inputs must be around it."""
    weights = dense(WIDTH, 4)
    mean = tf.constant(PRESSURE + np.arange(WIDTH), tf.float32)
    save(path, lambda x: tf.matmul(tf.tanh((x - mean) / 100), weights), (None, WIDTH), weights)


def large_weight(path: Path) -> None:
    """One weight is beyond float16, and what it multiplies is small."""
    values = RANDOM.normal(0, 1, (WIDTH, 8)).astype(np.float32)
    values[3, 2] = 2e5
    weights = tf.Variable(values)
    scale = np.where(np.arange(WIDTH) == 3, 1e-4, 1).astype(np.float32)
    save(path, lambda x: tf.matmul(tf.tanh(x * scale), weights), (None, WIDTH), weights)


def mostly_names(path: Path) -> None:
    """Many ops without weights, so that names and tables are most of the file."""

    def serve(x: tf.Tensor) -> tf.Tensor:
        for number in range(12):
            with tf.name_scope(f"a_long_name_of_a_block_number_{number}"):
                x = tf.maximum(tf.abs(x), tf.nn.elu(x))
        return x

    save(path, serve, (None, WIDTH))


def spectrum(path: Path) -> None:
    """The logarithm of powers that span many orders of magnitude: most are below one step of an integer."""
    weights = dense(WIDTH, 32)
    decay = np.geomspace(1, 1e-6, 32).astype(np.float32)

    def serve(x: tf.Tensor) -> tf.Tensor:
        return tf.math.log(tf.square(tf.matmul(x, weights) * decay) + 1e-12)

    save(path, serve, (None, WIDTH), weights)


def main() -> None:
    folder = Path(sys.argv[1])
    for make in (detection, pressure, large_weight, mostly_names, spectrum):
        make(folder / make.__name__)
    x = RANDOM.normal(0, 1, (120, WIDTH)).astype(np.float32)
    np.savez(folder / "calibration.npz", x=x[:60])
    np.savez(folder / "evaluation.npz", x=x[60:])


if __name__ == "__main__":
    main()
