"""Makes the .tflite files and the float models beside it, with TensorFlow 2.21, and what `tflq inspect` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tflq.flatbuffer import read
from tflq.report.inspect import to_text

FOLDER = Path(__file__).parent
RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> tf.Variable:
    return tf.Variable(RANDOM.normal(0, 0.5, shape).astype(np.float32))


class Cnn(tf.Module):
    """Convolutions, a concatenation, a dense layer and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_bias = weights(3, 3, 3, 8), weights(8)
        self.deep, self.deep_bias = weights(3, 3, 8, 1), weights(8)
        self.dense, self.dense_bias = weights(16, 4), weights(4)

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32, name="image")])
    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.nn.relu6(tf.nn.conv2d(image, self.first, 2, "SAME") + self.first_bias)
        y = tf.nn.relu(tf.nn.depthwise_conv2d(x, self.deep, (1, 1, 1, 1), "SAME") + self.deep_bias)
        both = tf.reduce_mean(tf.concat([x, y], 3), (1, 2))
        return {"scores": tf.nn.softmax(tf.matmul(both, self.dense) + self.dense_bias)}


class Loop(tf.Module):
    """A while loop over a matrix product, and a variable that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = weights(4, 4)
        self.memory = tf.Variable(tf.zeros((1, 4)))

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        _, y = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.matmul(y, self.matrix) + x), (0, x))
        self.memory.assign(self.memory * 0.5 + y)
        return {"y": self.memory + 1.0}


def images() -> Iterator[list[np.ndarray]]:
    for _ in range(20):
        yield [RANDOM.normal(0, 1, (1, 8, 8, 3)).astype(np.float32)]


def converter(module: tf.Module) -> tf.lite.TFLiteConverter:
    return tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)


def main() -> None:
    cnn, ops = Cnn(), tf.lite.OpsSet
    int8, int16x8, float16 = converter(cnn), converter(cnn), converter(cnn)
    for quantizing in (int8, int16x8, float16):
        quantizing.optimizations = [tf.lite.Optimize.DEFAULT]
    float16.target_spec.supported_types = [tf.float16]
    int8.representative_dataset = int16x8.representative_dataset = images
    int8.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8]
    int8.inference_input_type = tf.uint8
    int16x8.target_spec.supported_ops = [ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    made = {"cnn_int8": int8, "cnn_int16x8": int16x8, "cnn_float16": float16, "loop_float32": converter(Loop())}
    for name, each in made.items():
        data = each.convert()
        (FOLDER / f"{name}.tflite").write_bytes(data)
        (FOLDER / f"{name}.txt").write_text(to_text(read(data)) + "\n", encoding="utf-8")
    write_float_models(cnn)


def write_float_models(cnn: Cnn) -> None:
    """Write a float model of each kind."""
    tf.saved_model.save(cnn, str(FOLDER / "net"), signatures=cnn.__call__)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="first")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(image, keras.layers.Dense(4, activation="softmax", name="scores")(x), name="net")
    for suffix in ("keras", "h5"):
        model.save(FOLDER / f"net.{suffix}")


if __name__ == "__main__":
    main()
