"""Makes models with attention masks, and their data: `python tests/models_attention.py FOLDER`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import keras
import numpy as np
import tensorflow as tf

LENGTH, WIDTH = 8, 16
RANDOM = np.random.default_rng(0)
CAUSAL = np.tril(np.ones((LENGTH, LENGTH), bool))
QUERY, KEY = (RANDOM.normal(0, 0.4, (WIDTH, WIDTH)).astype(np.float32) for _ in range(2))


def block(x: keras.KerasTensor, attention_mask: keras.KerasTensor | None = None) -> keras.KerasTensor:
    """A block of a transformer, without normalization, for which LiteRT has no int16 kernel."""
    attention = keras.layers.MultiHeadAttention(2, 8)
    x = x + attention(x, x, use_causal_mask=attention_mask is None, attention_mask=attention_mask)
    return x + keras.layers.Dense(WIDTH)(keras.layers.Dense(32, activation="relu")(x))


def causal() -> keras.Model:
    x = given = keras.Input((LENGTH, WIDTH), name="x")
    for _ in range(2):
        x = block(x)
    return keras.Model(given, keras.layers.Dense(5, name="scores")(x))


def padding() -> keras.Model:
    """The mask is computed from integers: how many of the steps are given."""
    x, count = keras.Input((LENGTH, WIDTH), name="x"), keras.Input((1,), dtype="int32", name="count")
    is_given = keras.ops.less(np.arange(LENGTH, dtype=np.int32), count)[:, None, :]
    y = block(block(x, is_given), is_given)
    return keras.Model([x, count], keras.layers.Dense(5, name="scores")(y))


def padding_added() -> keras.Model:
    """Older models multiply 1 − mask by −1e9, and add it to the logits of two layers."""
    x, count = keras.Input((LENGTH, WIDTH), name="x"), keras.Input((1,), dtype="int32", name="count")
    is_given = keras.ops.cast(keras.ops.less(np.arange(LENGTH, dtype=np.int32), count), "float32")
    mask, y = (1.0 - is_given)[:, None, :] * -1e9, x
    for _ in range(2):
        query, key, value = (keras.layers.Dense(WIDTH)(y) for _ in range(3))
        weights = keras.ops.softmax(keras.ops.matmul(query, keras.ops.transpose(key, (0, 2, 1))) * 0.25 + mask)
        y = y + keras.layers.Dense(WIDTH)(keras.ops.matmul(weights, value))
    return keras.Model([x, count], keras.layers.Dense(5, name="scores")(y))


def logits(x: tf.Tensor) -> tf.Tensor:
    return tf.matmul(x @ QUERY, x @ KEY, transpose_b=True)


def given(x: tf.Tensor) -> tf.Tensor:
    """1 where the first feature of a step is positive, as a float; the first step is always given."""
    return tf.concat([tf.ones_like(x[:, :1, :1]), tf.cast(x[:, 1:, :1] > 0, tf.float32)], 1)[:, None, :, 0]


MASK = np.where(CAUSAL, 0, -1e9).astype(np.float32)
Function = Callable[[tf.Tensor], dict[str, tf.Tensor]]
FUNCTIONS: dict[str, Function] = {
    "added": lambda x: {"y": tf.nn.softmax(logits(x) + MASK)},
    "multiplied": lambda x: {"y": tf.nn.softmax(logits(x) + (1 - given(x)) * -1e9)},
    "subtracted": lambda x: {"y": tf.nn.softmax(logits(x) - (1 - given(x)) * 1e9)},
    "reversed": lambda x: {"y": tf.nn.softmax(logits(x) + (given(x) - 1) * 1e9)},
    "selected": lambda x: {"y": tf.nn.softmax(tf.where(CAUSAL, logits(x), -np.inf))},
    "lowest": lambda x: {"y": tf.nn.softmax(tf.where(given(x) > 0, logits(x), tf.float32.min))},
    "half": lambda x: {"y": tf.nn.softmax(logits(x) + np.where(CAUSAL, 0, -65504).astype(np.float32))},
    "scaled": lambda x: {"y": tf.nn.softmax((logits(x) + MASK) * 0.125)},
    "reshaped": lambda x: {"y": tf.nn.softmax(tf.reshape(logits(x)[:, None] + MASK, (-1, LENGTH)))},
    "twice": lambda x: {"y": tf.nn.softmax(logits(x) + MASK + (1 - given(x)) * -1e9)},
    "two_heads": lambda x: {"y": tf.nn.softmax(logits(x) + MASK), "z": tf.nn.softmax(3 * logits(x) + MASK)},
    "one_of_two": lambda x: {"y": tf.nn.softmax(logits(x) + MASK), "z": tf.nn.tanh(2 * logits(x) + MASK)},
    "also_output": lambda x: (lambda sum_: {"y": tf.nn.softmax(sum_), "z": sum_})(logits(x) + MASK),
    "also_read": lambda x: (lambda sum_: {"y": tf.nn.softmax(sum_), "z": tf.nn.tanh(sum_)})(logits(x) + MASK),
    "log_softmax": lambda x: {"y": tf.nn.log_softmax(logits(x) + MASK)},
    "fractions": lambda x: {"y": tf.nn.softmax(logits(x) + tf.sigmoid(x[:, None, :, 0]) * -1e9)},
    "raised": lambda x: {"y": tf.nn.softmax(logits(x) - MASK)},
    "small": lambda x: {"y": tf.nn.softmax(logits(x) + np.where(CAUSAL, 0, -20).astype(np.float32))},
    "whole_rows": lambda x: {"y": tf.nn.softmax(logits(x) + tf.cast(x[:, :, :1] < 0, tf.float32) * -1e9)},
    "whole_selected": lambda x: {"y": tf.nn.softmax(tf.where(x[:, :, :1] < 0, -1e9, logits(x)))},
}
"""A function of steps, [batch, LENGTH, WIDTH], for each way to mask; the last two have rows that are masked whole."""


def main() -> None:
    folder = Path(sys.argv[1])
    for make in (causal, padding, padding_added):
        keras.utils.set_random_seed(0)
        make().save(folder / f"{make.__name__}.keras")
    steps = tf.TensorSpec((None, LENGTH, WIDTH), tf.float32, name="x")
    for name, function in FUNCTIONS.items():
        module = tf.Module()
        module.serve = tf.function(function, input_signature=[steps])
        tf.saved_model.save(module, str(folder / name), signatures={"serving_default": module.serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / name))
        (folder / f"{name}.tflite").write_bytes(converter.convert())
    x = RANDOM.normal(0, 1, (32, LENGTH, WIDTH)).astype(np.float32)
    np.savez(folder / "steps.npz", x=x)
    np.savez(folder / "counted.npz", x=x, count=RANDOM.integers(3, LENGTH + 1, (32, 1)).astype(np.int32))


if __name__ == "__main__":
    main()
