"""Models inside a model are replaced by their layers, and the outputs stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras

from tflq.errors import SourceError
from tflq.sources.keras3_to_tf_keras import rebuild_in_tf_keras
from tflq.training.flattening import flattened

L = tf_keras.layers
PATH = Path("net.h5")


def body() -> Any:
    """Return a model of two inputs and two outputs: one of a layer, and an input."""
    left, right = L.Input((6, 6, 4), name="left"), L.Input((6, 6, 4), name="right")
    y = L.BatchNormalization(name="norm")(L.Conv2D(4, 3, padding="same", name="conv")(left))
    return tf_keras.Model([left, right], [L.Add()([y, right]), left], name="body")


def network(**options: Any) -> Any:
    """Return a model that has the body in a model in it, and a Sequential at each end; layers share their names."""
    image = L.Input((6, 6, 3), name="image")
    front = tf_keras.Sequential([L.RandomFlip(), L.Dropout(0.5, name="drop")], name="front")
    inner, inside = L.Input((6, 6, 4)), body()
    middle = tf_keras.Model(inner, inside({"left": inner, "right": L.ReLU()(inner)}, **options), name="middle")
    one, other = middle(L.Conv2D(4, 1, name="conv")(front(image)))
    head = tf_keras.Sequential([L.Flatten(), L.Dense(3, name="scores")], name="head")
    model = tf_keras.Model(image, head(L.Concatenate()(inside([other, one]))))
    random = np.random.default_rng(0)
    inside.get_layer("norm").set_weights(random.uniform(0.5, 1.5, (4, 4)))
    return model


def compare(model: Any, flat: Any) -> None:
    samples = np.random.default_rng(0).normal(0, 1, (2, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_array_equal(flat(samples, training=False), model(samples, training=False))
    assert not any(isinstance(layer, tf_keras.Model) for layer in flat.layers)
    assert sum(w.size for w in flat.get_weights()) == sum(w.size for w in model.get_weights())


def test_outputs_stay_and_names_say_which_model_a_layer_was_in() -> None:
    model = network()
    flat = flattened(model, PATH)
    compare(model, flat)
    names = [layer.name for layer in flat.layers]
    assert len(set(names)) == len(names)
    assert {"image", "front/drop", "conv", "middle/body/conv", "middle/body/norm", "head/scores"} < {*names}
    assert flat.get_layer("middle/body/norm").trainable
    assert flattened(flat, PATH) is flat


def test_a_keras_3_model_called_for_inference_keeps_its_statistics(tmp_path: Path) -> None:
    image, x = keras.Input((6, 6, 3), name="image"), keras.Input((6, 6, 3))
    layers = keras.layers
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(3, 3, padding="same", name="conv")(x))
    middle = keras.Model(x, keras.Sequential([keras.Model(x, y, name="body")], name="inner")(x), name="middle")
    outer = layers.BatchNormalization(name="norm")(middle(image, training=False))
    keras.Model(image, outer).save(tmp_path / "net.keras")
    samples = np.random.default_rng(0).normal(0, 1, (2, 6, 6, 3)).astype(np.float32)
    rebuilt = rebuild_in_tf_keras(tmp_path / "net.keras", {"image": samples})
    assert [rebuilt.get_layer(name).trainable for name in ("middle/inner/body/norm", "norm")] == [False, True]
    statistics = rebuilt.get_layer("middle/inner/body/norm").get_weights()
    rebuilt(samples, training=True)
    np.testing.assert_equal(rebuilt.get_layer("middle/inner/body/norm").get_weights(), statistics)


def test_a_model_called_for_inference_keeps_its_statistics() -> None:
    model = network(training=False)
    flat = flattened(model, PATH)
    compare(model, flat)
    assert [layer.name for layer in flat.layers if not layer.trainable] == ["middle/body/norm"]


def test_two_layers_never_get_the_same_name() -> None:
    inner = tf_keras.Sequential([L.Input((4,)), L.Dense(4, name="dense")], name="body")
    model = tf_keras.Sequential([L.Input((4,)), L.Dense(4, name="body/dense"), inner])
    flat = flattened(model, PATH)
    compare(model, flat)
    assert [layer.name for layer in flat.layers][1:] == ["body/dense", "body/dense_1"]


class Subclass(tf_keras.Model):
    def call(self, x: Any) -> Any:
        return x + 1


def test_a_subclass_of_model_inside_is_refused() -> None:
    image = L.Input((4,))
    with pytest.raises(SourceError, match=r"net.h5: layer 'inside' is a subclass of Model, but only Sequential and"):
        flattened(tf_keras.Model(image, Subclass(name="inside")(image)), PATH)
