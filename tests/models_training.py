"""The models of models.py that are trained, and those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tf_keras


def layers_of(kit: Any, dropout: float = 0.3) -> Any:
    """Convolutions with batch normalization, a residual and chance, in Keras 2 or 3."""
    kit.utils.set_random_seed(0)
    layers = kit.layers
    image = kit.Input((8, 8, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(image)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="deep")(x)
    y = layers.ReLU(name="deep_relu")(layers.BatchNormalization(name="deep_norm")(y))
    x = layers.Add(name="sum")([x, layers.Conv2D(16, 1, name="point")(y)])
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dropout(dropout, name="drop")(layers.Dense(32, activation="relu", name="hidden")(x))
    return kit.Model(image, layers.Dense(4, name="scores")(x))


def give_statistics(model: Any) -> None:
    """Make the batch normalizations' means and variances other than those of the next batch."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("_norm"):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])


def trainable_keras2(path: Path) -> None:
    model = layers_of(tf_keras)
    give_statistics(model)
    model.save(path.with_suffix(".h5"))
    model.save(path.with_suffix(".keras"))
    model.save(path, save_format="tf")
    x, dense = tf_keras.Input((16,), name="x"), tf_keras.layers.Dense
    inner = tf_keras.Sequential([dense(8, input_shape=(16,)), dense(16, name="wide")], name="inner")
    outer = tf_keras.Model(x, dense(4)(inner(inner(x))))
    outer.save(path.with_name("vectors_nested.h5"))


def trainable_keras3(path: Path) -> None:
    """The same as Keras 3, and with a model inside, as after transfer learning; with probabilities for answers."""
    inner = layers_of(keras)
    give_statistics(inner)
    inner.save(path.with_suffix(".keras"))
    image = keras.Input((8, 8, 3), name="image")
    head = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4, activation="softmax", name="shares")], name="head"
    )
    outer = keras.Model(image, head(keras.layers.LeakyReLU(0.1, name="leaky")(inner(image))))
    outer.save(path.with_name("trainable_nested.keras"))


def untrainable(path: Path) -> None:
    """For each way in which a model cannot be trained, one that cannot."""
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    flat = layers.Flatten(name="flat")(image)
    tokens = layers.Reshape((8, 24), name="tokens")(image)

    def save(name: str, outputs: Any) -> None:
        keras.Model(image, outputs).save(path.with_name(f"{name}.keras"))

    save("operation", layers.Dense(4, name="scores")(flat * 2.0))
    save("attention", layers.Flatten()(layers.MultiHeadAttention(2, 8, name="heads")(tokens, tokens)))
    save(
        "normalized", layers.Dense(4)(layers.LayerNormalization(name="norm")(layers.Dense(64, activation="gelu")(flat)))
    )
    save("two_heads", [layers.Dense(4, name="one")(flat), layers.Dense(4, name="other")(flat)])
    quantized = keras.Model(image, layers.Dense(4, name="scores")(flat))
    quantized.quantize("int8")
    quantized.save(path.with_name("quantized.keras"))
    tf_keras.Sequential([tf_keras.Input((16,), batch_size=2, name="x"), tf_keras.layers.Dense(4)]).save(
        path.with_name("vectors_by_two.h5")
    )
    subclassed = Subclassed()
    subclassed(np.zeros((1, 16), np.float32))
    subclassed.save(path.with_name("vectors_subclassed"), save_format="tf")


def rewritten_for_training(path: Path) -> None:
    """Models of layers that are quantized after they are rewritten, and one that cannot be quantized but pruned."""
    layers, image = tf_keras.layers, tf_keras.Input((8, 8, 3), name="image")

    def save(name: str, x: Any) -> None:
        scores = layers.Dense(4, name="scores")(layers.GlobalAveragePooling2D()(x))
        tf_keras.Model(image, scores).save(path.with_name(f"{name}.h5"))

    x = layers.RandomFlip(name="flipped")(layers.Rescaling(0.5, name="scaled")(image))
    x = layers.SeparableConv2D(8, 3, name="sep")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="sep_norm")(x))
    save("separable", layers.BatchNormalization(name="up_norm")(layers.Conv2DTranspose(8, 3, name="up")(x)))
    x = layers.Reshape((64, 3), name="line")(image)
    x = layers.BatchNormalization(name="conv_norm")(layers.Conv1D(8, 3, name="conv")(x))
    save("line", layers.Reshape((1, -1, 8), name="back")(x))
    x = layers.LayerNormalization(name="norm")(layers.Conv2D(8, 3, name="conv")(image))
    save("half_trainable", x)


class Subclassed(tf_keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = tf_keras.layers.Dense(4)

    def call(self, x: Any) -> Any:
        return self.dense(x)


MAKERS = (trainable_keras2, trainable_keras3, untrainable, rewritten_for_training)
