"""Load the float model as a tf-keras model for training, and check that it gives the outputs of the source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tflq.datasets import brackets
from tflq.errors import SourceError
from tflq.sources.keras3_to_tf_keras import TOLERANCE, rebuild_in_tf_keras
from tflq.sources.keras_file import Keras
from tflq.sources.prepared import SIGNATURE, PreparedSource
from tflq.sources.saved_model import SavedModel
from tflq.sources.schema import TFLite
from tflq.training.flattening import flattened

KERAS_METADATA = "keras_metadata.pb"
"""The file that Keras 2 adds to a SavedModel, so that its layers can be loaded."""


def refuse_untrainable(model: SavedModel | Keras | TFLite) -> None:
    """Raise SourceError if the model certainly has no layers to train. This does not import TensorFlow."""
    if isinstance(model, TFLite):
        raise SourceError(
            f"{model.path}: training needs the layers of a Keras model, but a .tflite file has only ops, which have no"
            " gradients: give the .keras or .h5 file as model: {keras: ...}, or remove training"
        )
    if model.outputs is not None:
        raise SourceError(
            f"{model.path}: training needs the whole Keras model, but model.outputs ends it at a tensor: give a .keras"
            " file that ends there, or remove model.outputs or training"
        )
    if isinstance(model, SavedModel) and not (model.path / KERAS_METADATA).is_file():
        raise SourceError(
            f"{model.path}: training needs the layers of a Keras model, but an exported SavedModel has none: give the"
            " .keras or .h5 file that it was exported from, as model: {keras: ...}, or remove training"
        )


@dataclass(frozen=True)
class Trainable:
    """A tf-keras model, with the source's names of its inputs, in the order of the model, and of its output."""

    model: Any
    inputs: tuple[str, ...]
    output: str


def load(model: SavedModel | Keras | TFLite, source: PreparedSource, samples: Mapping[str, np.ndarray]) -> Trainable:
    """Return the source as a model with layers.

    `samples` are input name → [n, ...]. Raise SourceError if the layers cannot be loaded, or if their outputs on the
    samples differ from those of the source.
    """
    refuse_untrainable(model)
    assert not isinstance(model, TFLite)
    if len(source.outputs) > 1:
        names = ", ".join(spec.name for spec in source.outputs)
        raise SourceError(f"{model.path}: has the outputs {names}, but only a model with one output can be trained")
    keras = (
        rebuild_in_tf_keras(model.path, samples)
        if isinstance(model, Keras) and model.keras_version >= 3
        else _loaded(model)
    )
    trainable = Trainable(keras, _names(keras, source, model.path), source.outputs[0].name)
    _check_outputs(trainable, source, samples, model.path)
    return trainable


def _loaded(model: SavedModel | Keras) -> Any:
    import tf_keras

    try:
        loaded = tf_keras.models.load_model(model.path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, AttributeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SourceError(
            f"{model.path}: tf-keras cannot load its layers, so it cannot be trained: {reason}"
        ) from error
    if not isinstance(loaded, tf_keras.Sequential) and not getattr(loaded, "_is_graph_network", False):
        raise SourceError(
            f"{model.path}: is a subclass of Model, but only Sequential and Functional models can be trained;"
            " build it as one of these, or remove training"
        )
    if any(tensor.shape[0] is not None for tensor in loaded.inputs):
        raise SourceError(
            f"{model.path}: has the fixed batch size {loaded.inputs[0].shape[0]}, so it cannot be trained;"
            " build it without a batch size"
        )
    return flattened(loaded, model.path)


def _names(model: Any, source: PreparedSource, path: Path) -> tuple[str, ...]:
    """Return the source's names of the model's inputs, in the order of the model."""
    layer_names, source_names = (
        [re.sub(r":0$", "", name) for name in model.input_names],
        [spec.name for spec in source.inputs],
    )
    if set(layer_names) == set(source_names):
        return tuple(layer_names)
    if len(layer_names) == len(source_names) == 1:
        return tuple(source_names)
    raise SourceError(
        f"{path}: its layers take {', '.join(layer_names)}, but its signature takes {', '.join(source_names)}; give"
        " them the same names to train it"
    )


def _check_outputs(trainable: Trainable, source: PreparedSource, samples: Mapping[str, np.ndarray], path: Path) -> None:
    """Compare both on the samples, in calls of the source's batch size."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(source.path))
    signature = loaded.signatures[SIGNATURE]
    batch = source.batch or 1
    count = len(next(iter(samples.values())))
    for start in range(0, count - count % batch, batch):
        arrays = {name: tf.constant(array[start : start + batch]) for name, array in samples.items()}
        expected = signature(**arrays)[trainable.output].numpy()
        actual = trainable.model([arrays[name] for name in trainable.inputs], training=False).numpy()
        _compare(expected, actual, path)


def _compare(expected: np.ndarray, actual: np.ndarray, path: Path) -> None:
    if expected.shape != actual.shape:
        raise SourceError(
            f"{path}: its layers give an output {brackets(actual.shape)}, but its signature gives"
            f" {brackets(expected.shape)}, so a trained model would not match it"
        )
    difference = float(np.abs(expected - actual).max(initial=0))
    if not difference <= 10 * TOLERANCE * max(float(np.abs(expected).max(initial=0)), 1e-3):
        raise SourceError(
            f"{path}: the outputs of its layers and of its signature differ by {difference:.3g}, so a trained model"
            " would not match it"
        )
