"""The float model as a tf-keras model whose layers can be trained, proven to compute what the source does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tflq.datasets import brackets
from tflq.errors import SourceError
from tflq.sources import SIGNATURE, Keras, Prepared, SavedModel
from tflq.training.keras3_to_tf_keras import TOLERANCE, rebuild_in_tf_keras

KERAS_METADATA = "keras_metadata.pb"
"""What Keras 2 adds to a SavedModel, so that its layers can be had again."""


def check(model: SavedModel | Keras) -> None:
    """SourceError where there are certainly no layers to train; needs no TensorFlow."""
    if isinstance(model, SavedModel) and not (model.path / KERAS_METADATA).is_file():
        raise SourceError(
            f"{model.path}: training needs the layers of a Keras model, and an exported SavedModel has none: give the"
            " .keras or .h5 file that it was exported from, as model: {keras: ...}, or leave training out"
        )


@dataclass(frozen=True)
class Trainable:
    """A tf-keras model, and what the source calls its inputs, in the model's order, and its output."""

    model: Any
    inputs: tuple[str, ...]
    output: str


def load(model: SavedModel | Keras, source: Prepared, samples: Mapping[str, np.ndarray]) -> Trainable:
    """The source's layers; SourceError where they cannot be had, or do not compute what the source does.

    `samples`, input name → [n, ...], are what both must answer alike.
    """
    if len(source.outputs) > 1:
        names = ", ".join(spec.name for spec in source.outputs)
        raise SourceError(f"{model.path}: has the outputs {names}, and only a model with one output can be trained")
    keras = (
        rebuild_in_tf_keras(model.path, samples)
        if isinstance(model, Keras) and model.keras_version >= 3
        else _loaded(model)
    )
    trainable = Trainable(keras, _names(keras, source, model.path), source.outputs[0].name)
    _prove(trainable, source, samples, model.path)
    return trainable


def _loaded(model: SavedModel | Keras) -> Any:
    import tf_keras

    try:
        loaded = tf_keras.models.load_model(model.path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, AttributeError, NotImplementedError) as error:
        said = " ".join(str(error).split())[:300]
        raise SourceError(f"{model.path}: tf-keras cannot load its layers, so it cannot be trained: {said}") from error
    if not isinstance(loaded, tf_keras.Sequential) and not getattr(loaded, "_is_graph_network", False):
        raise SourceError(
            f"{model.path}: is a subclass of Model, and only models of the Sequential or Functional kind can be"
            " trained; build it so, or leave training out"
        )
    if any(tensor.shape[0] is not None for tensor in loaded.inputs):
        raise SourceError(
            f"{model.path}: takes {loaded.inputs[0].shape[0]} samples at a time and no other number, so it cannot be"
            " trained; build it without a batch size"
        )
    nested = [layer.name for layer in loaded.layers if isinstance(layer, tf_keras.Model)]
    if nested:
        raise SourceError(
            f"{model.path}: layer {nested[0]!r} is a model itself, which cannot be trained inside of another; call its"
            " layers one by one when the model is built, or save it with Keras 3, from which they are taken apart"
        )
    return loaded


def _names(model: Any, source: Prepared, path: Path) -> tuple[str, ...]:
    """What the source calls the model's inputs."""
    ours, theirs = [re.sub(r":0$", "", name) for name in model.input_names], [spec.name for spec in source.inputs]
    if set(ours) == set(theirs):
        return tuple(ours)
    if len(ours) == len(theirs) == 1:
        return tuple(theirs)
    raise SourceError(
        f"{path}: its layers take {', '.join(ours)}, its signature {', '.join(theirs)}; name them alike to train it"
    )


def _prove(trainable: Trainable, source: Prepared, samples: Mapping[str, np.ndarray], path: Path) -> None:
    """Run both on the samples, as many at a time as the source takes."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(source.saved_model))
    signature = loaded.signatures[SIGNATURE]
    batch = source.batch or 1
    count = len(next(iter(samples.values())))
    for start in range(0, count - count % batch, batch):
        arrays = {name: tf.constant(array[start : start + batch]) for name, array in samples.items()}
        expected = signature(**arrays)[trainable.output].numpy()
        found = trainable.model([arrays[name] for name in trainable.inputs], training=False).numpy()
        _compare(expected, found, path)


def _compare(expected: np.ndarray, found: np.ndarray, path: Path) -> None:
    if expected.shape != found.shape:
        raise SourceError(
            f"{path}: its layers answer {brackets(found.shape)}, its signature {brackets(expected.shape)}, so what was"
            " trained would not be what is asked for"
        )
    difference = float(np.abs(expected - found).max(initial=0))
    if not difference <= 10 * TOLERANCE * max(float(np.abs(expected).max(initial=0)), 1e-3):
        raise SourceError(
            f"{path}: its layers answer something else than its signature, by {difference:.3g}, so what was trained"
            " would not be what is asked for"
        )
