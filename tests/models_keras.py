"""The Keras models among those of models.py, of Keras 3 and of Keras 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras


def keras3_layers() -> keras.Model:
    """With a batch normalization, whose statistics must be used rather than taken anew."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            keras.layers.Conv2D(16, 3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(8, 3),
            keras.layers.Dropout(0.5),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )


def keras2_layers() -> tf_keras.Model:
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential(
        [
            tf_keras.layers.Conv2D(16, 3, padding="same", input_shape=(8, 8, 3), name="conv"),
            tf_keras.layers.BatchNormalization(),
            tf_keras.layers.ReLU(),
            tf_keras.layers.Conv2D(8, 3),
            tf_keras.layers.GlobalAveragePooling2D(),
            tf_keras.layers.Dense(4),
        ]
    )


def keras3(path: Path) -> None:
    model = keras3_layers()
    _give_statistics(model)
    model.save(path.with_suffix(".keras"))
    model.save(path.with_suffix(".h5"))
    model.save_weights(path.with_name("only.weights.h5"))
    _answer(path, model)


def keras2(path: Path) -> None:
    model = keras2_layers()
    _give_statistics(model)
    model.save(path.with_suffix(".keras"))
    model.save(path.with_suffix(".h5"))
    _answer(path, model)


def _give_statistics(model: Any) -> None:
    """Make the batch normalization's mean and variance other than those of the next batch."""
    random = np.random.default_rng(0)
    layer = model.layers[1]
    layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])


def _answer(path: Path, model: Any) -> None:
    """Keep an input and what Keras answers to it, as `input` and `output` of a .npz file."""
    image = np.random.default_rng(1).normal(0, 1, (1, 8, 8, 3)).astype(np.float32)
    np.savez(path.with_suffix(".npz"), input=image, output=np.asarray(model(image, training=False)))


def recurrent(kind: type[keras.layers.Layer]) -> keras.Model:
    return keras.Sequential([keras.Input((6, 8), name="x"), kind(16), keras.layers.Dense(64), keras.layers.Dense(3)])


def lstm(path: Path) -> None:
    recurrent(keras.layers.LSTM).save(path.with_suffix(".keras"))


def gru(path: Path) -> None:
    recurrent(keras.layers.GRU).save(path.with_suffix(".keras"))


def lstm_bidirectional(path: Path) -> None:
    layers = keras.layers
    both = layers.Bidirectional(layers.LSTM(8, return_sequences=True), name="both")
    keras.Sequential([keras.Input((6, 8), name="x"), both, layers.Dense(3)]).save(path.with_suffix(".keras"))


def gru_stacked(path: Path) -> None:
    """Two loops, of which the first returns all its steps, and an LSTM that cannot be fused beside them."""
    layers = keras.layers
    stack = [layers.GRU(8, return_sequences=True), layers.LSTM(8), layers.Dense(3)]
    keras.Sequential([keras.Input((6, 8), name="x"), *stack]).save(path.with_suffix(".keras"))


def gru_states(path: Path) -> None:
    """The state is an input and an output."""
    layers, x, state = keras.layers, keras.Input((6, 8), name="x"), keras.Input((8,), name="state")
    steps, after = layers.GRU(8, return_sequences=True, return_state=True)(x, initial_state=state)
    keras.Model([x, state], {"y": layers.Dense(3)(steps), "after": after}).save(path.with_suffix(".keras"))


def gru_keras2(path: Path) -> None:
    both = tf_keras.layers.Bidirectional(tf_keras.layers.GRU(8), input_shape=(6, 8))
    tf_keras.Sequential([both, tf_keras.layers.Dense(3)]).save(path.with_suffix(".h5"))


def lstm_exported(path: Path) -> None:
    recurrent(keras.layers.LSTM).export(str(path), verbose=False)


def lstm_keras2(path: Path) -> None:
    """Becomes one fused op."""
    layers = [
        tf_keras.layers.LSTM(16, input_shape=(6, 8), name="lstm"),
        tf_keras.layers.Dense(64),
        tf_keras.layers.Dense(3),
    ]
    model = tf_keras.Sequential(layers)
    module = tf.Module()
    module.held = model.variables
    serve = tf.function(lambda x: {"y": model(x)}, input_signature=[tf.TensorSpec((1, 6, 8), tf.float32, name="x")])
    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})


MAKERS = (
    *(keras3, keras2, lstm, gru, lstm_exported, lstm_keras2),
    *(lstm_bidirectional, gru_stacked, gru_states, gru_keras2),
)
