"""Makes models whose float16 and dynamic files come from the float32 file: `python tests/models_float32.py FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import keras
import numpy as np
import tensorflow as tf

RANDOM = np.random.default_rng(7)
layers = keras.layers
Input = layers.Input


def variable(*shape: int) -> tf.Variable:
    return tf.Variable(RANDOM.normal(0, 0.3, shape).astype(np.float32))


def with_noise(model: Any) -> Any:
    """No weight is zero, so that nothing is folded away."""
    model.set_weights([w + RANDOM.normal(0, 0.05, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def convolutions() -> Any:
    """The convolutions of all kinds, with and without a bias; some are too small to quantize."""
    x = first = Input((16, 16, 32))
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu6")(x)
    x = layers.DepthwiseConv2D(7, padding="same")(x)
    x = layers.LeakyReLU()(layers.SeparableConv2D(48, 3, use_bias=False)(x))
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(48, 3, groups=2, padding="same")(x))
    x = layers.Conv2D(32, 3, dilation_rate=2, padding="same", activation="hard_swish")(x)
    y = layers.Conv2DTranspose(8, 3, strides=2, padding="same", use_bias=False)(x)
    z = layers.Conv2DTranspose(16, 3, strides=2)(layers.ZeroPadding2D(1)(x))
    y = layers.UpSampling2D(interpolation="bilinear")(layers.AveragePooling2D(2)(y))
    y, z = layers.GlobalAveragePooling2D()(y), layers.GlobalMaxPooling2D()(layers.MaxPooling2D()(z))
    y = layers.Dense(64, activation="gelu")(layers.Concatenate()([y, z]))
    y = layers.LayerNormalization()(layers.Dense(64, activation="elu", use_bias=False)(y))
    return with_noise(keras.Model(first, [layers.Dense(16, activation="softmax")(y), z]))


def recurrent() -> Any:
    x = first = Input((4, 12))
    x = layers.LSTM(32, unroll=True, return_sequences=True)(x)
    x = layers.GRU(24, unroll=True, return_sequences=True)(x)
    x = layers.SimpleRNN(31, unroll=True)(x)
    return with_noise(keras.Model(first, layers.Dense(33)(x)))  # one weight too few to quantize


def attention() -> Any:
    ids = Input((9,), dtype="int32")
    x = layers.Embedding(100, 32)(ids)
    x = layers.Add()([x, layers.MultiHeadAttention(4, 16)(x, x)])
    x = layers.Conv1D(40, 3, padding="same", activation="relu")(layers.LayerNormalization()(x))
    return with_noise(keras.Model(ids, [layers.Dense(40)(x), layers.GlobalAveragePooling1D()(x)]))


def shared() -> Any:
    """Layers that are used again and again; weights of zeros, tiny, huge, negative zero and half way between."""
    vector, image = Input((48,)), Input((6, 6, 8))
    dense, convolution = layers.Dense(48, activation="tanh"), layers.Conv2D(8, 5, padding="same")
    outputs = [dense(dense(vector)), convolution(layers.ReLU()(convolution(image)))]
    model = with_noise(keras.Model([vector, image], outputs))
    weights = model.get_weights()
    for kernel in (one for one in weights if one.ndim > 1):
        kernel[..., 0], kernel[..., 1] = 0, 1e-9
        kernel[..., 2] = RANDOM.uniform(-1, 1, kernel.shape[:-1]) * 4e-7
        kernel[..., 3] = np.arange(kernel[..., 3].size).reshape(kernel.shape[:-1]) % 254 / 2
        kernel.flat[[4, 12, 20, 28]] = 1e6, 1e-7, -0.0, -65520
    model.set_weights(weights)
    return model


class Products(layers.Layer):
    """Batch products with constants on either side, and tables that are smaller and larger than what is looked up."""

    def build(self, _: Any) -> None:
        self.right = self.add_weight(shape=(4, 16, 40), initializer="normal")
        self.left = self.add_weight(shape=(4, 40, 30), initializer="normal")
        self.table = self.add_weight(shape=(50, 32), initializer="normal")

    def call(self, x: Any) -> Any:
        index = tf.cast(tf.argmax(x, -1), tf.int32)
        product = tf.matmul(tf.reshape(x, (4, 9, 16)), self.right)
        return product, tf.matmul(self.left, tf.transpose(product, (0, 2, 1))[:, :30]), tf.gather(self.table, index)


def products() -> Any:
    first = Input((36, 16), batch_size=1)
    return keras.Model(first, list(Products()(first)))


KERAS = (convolutions, recurrent, attention, shared, products)


def lookups(path: Path) -> None:
    """Tables that the converter dequantizes whole, or that two ops read."""
    table, other = variable(40, 32), variable(64, 20)

    def serve(many: tf.Tensor, few: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"many": tf.gather(table, many), "few": tf.gather(other, few), "again": tf.gather(other, few + 1)}

    specs = [tf.TensorSpec((size,), tf.int32, name=name) for name, size in (("many", 80), ("few", 3))]
    save(path, serve, specs, [table, other])


def constant_output(path: Path) -> None:
    matrix = variable(32, 32)
    spec = tf.TensorSpec((1, 32), name="x")
    save(path, lambda x: {"y": tf.matmul(x, matrix), "z": tf.identity(matrix)}, [spec], [matrix])


def elementwise(path: Path) -> None:
    """Ops without weights, with constants as their other inputs."""
    constant = variable(8, 8, 16)

    def reshaping(x: tf.Tensor) -> tf.Tensor:
        y = tf.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]], constant_values=0.7)
        y = tf.nn.depth_to_space(tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT"), 2)
        one, other = tf.split(tf.nn.space_to_depth(y, 2), 2, -1)
        y = tf.image.resize(tf.reverse(one - tf.floor(other) + tf.round(one) + tf.math.ceil(other), [1]), (7, 9))
        y = tf.transpose(tf.image.resize(y, (5, 5), method="nearest"), (0, 3, 1, 2))
        return tf.stack(tf.unstack(y, axis=1)[:3], 1)

    def pointwise(x: tf.Tensor) -> tf.Tensor:
        y = tf.where(x > 0.1, tf.maximum(x * constant + 0.5, constant), tf.minimum(x, 0.9))
        y = tf.exp(-tf.sqrt(tf.abs(y))) / (1.0 + tf.square(y))
        y = tf.sin(tf.math.log(y + 1.0)) + tf.cos(y) + tf.math.rsqrt(y + 1.0) + tf.nn.relu(y - 0.5)
        y = tf.math.squared_difference(tf.pow(y, 1.7), 0.3) + tf.cast(tf.equal(y, 0.3), tf.float32)
        return tf.add_n([y, tf.sigmoid(x), tf.tanh(x)]) + tf.math.floordiv(x, 0.3)

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        y = reshaping(pointwise(x))
        total = tf.math.cumsum(y, 1)
        sums = tf.reduce_sum(total, 1) + tf.reduce_max(y, 1) + tf.reduce_min(y, 1) + tf.reduce_prod(y, 1)
        return {
            "softmax": tf.nn.softmax(sums),
            "log_softmax": tf.nn.log_softmax(tf.nn.l2_normalize(sums, -1)),
            "largest": tf.math.top_k(sums, 2)[0],
            "repeated": tf.tile(sums, (1, 1, 2)),
            "broadcast": tf.broadcast_to(sums[:, :1], (3, *sums.shape[1:])),
            "hot": tf.one_hot(tf.argmin(sums, -1), 3) * 1.5,
            "part": tf.slice(constant, tf.cast(tf.argmax(x, -1), tf.int32)[0, 0, :3] // 8, [4, 4, 4]),
            "less": tf.cast(sums < 0.2, tf.float32),
        }

    save(path, serve, [tf.TensorSpec((1, 8, 8, 16), name="x")], [constant])


def comparisons(path: Path) -> None:
    constant, volume = variable(1, 6, 6, 8), variable(3, 3, 3, 2, 24)

    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        y = x - constant
        chosen = ((y > 0.1) & (y < 0.5)) | (y >= 1.0) | ~(y <= 2.0) | ((y != 0.4) & (x < 0.0))
        blocks = tf.batch_to_space(tf.space_to_batch(y, [2, 2], [[0, 0], [0, 0]]) * 0.3, [2, 2], [[0, 0], [0, 0]])
        first, second, third = tf.split(y, [2, 3, 3], -1)
        places = tf.cast(tf.argmax(x[0, :, :, :3], -1), tf.int32)
        return {
            "chosen": tf.where(chosen, x, constant * 2.0),
            "blocks": blocks + tf.sign(x) * tf.math.floormod(y, 0.3),
            "parts": tf.concat([third, first, second], -1) + tf.nn.local_response_normalization(x),
            "picked": tf.gather_nd(x[0], places[:, :2]) + tf.fill([8], x[0, 0, 0, 0]),
            "broadcast": tf.where(chosen[:, :, :, :1], x, constant * 3.0) + tf.nn.relu(blocks),
            "volume": tf.nn.conv3d(tf.reshape(x, (1, 6, 6, 4, 2)), volume, (1, 1, 1, 1, 1), "SAME"),
            "soft": tf.nn.elu(y) + tf.nn.relu6(y) + tf.nn.leaky_relu(y, 0.3),
            "any": tf.cast(tf.reduce_any(chosen, -1), tf.float32) * 0.7,
        }

    save(path, serve, [tf.TensorSpec((1, 6, 6, 8), name="x")], [constant, volume])


def fused_lstm(path: Path) -> None:
    """A layer that becomes one op, whose weights become int8 all together: those of `small` are too few."""
    import tf_keras

    first, small = tf_keras.Input((6, 40)), tf_keras.layers.LSTM(32, activation="tanh")
    wide = tf_keras.layers.LSTM(33, return_sequences=True)
    model = tf_keras.Model(first, small(tf_keras.layers.Dense(30)(wide(first))))
    serve = tf.function(lambda x: {"y": model(x)})
    save(path, serve, [tf.TensorSpec((1, 6, 40), name="x")], [model])


def save(path: Path, serve: Any, specs: list[tf.TensorSpec], held: list[Any]) -> None:
    module = tf.Module()
    module.held = held
    tf.saved_model.save(module, str(path), signatures={"serving_default": tf.function(serve, input_signature=specs)})


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    keras.utils.set_random_seed(3)
    for make in KERAS:
        make().export(folder / make.__name__, verbose=False)
    for write in (lookups, constant_output, elementwise, comparisons, fused_lstm):
        write(folder / write.__name__)
