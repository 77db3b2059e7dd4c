"""A Keras 3 model whose LSTM layers the converter fuses: the same layers and weights in tf-keras.

The converter makes a loop of an LSTM of Keras 3, but one op of an LSTM of tf-keras. This code runs in a worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tflq.datasets import TensorSpec
from tflq.errors import SourceError
from tflq.sources.keras3_to_tf_keras import rebuild_in_tf_keras
from tflq.sources.keras_file import Keras
from tflq.sources.prepared import SIGNATURE, PreparedSource
from tflq.worker import ProgressCallback, require_own_process

COMPARED = 2
"""The number of random samples on which each layer is compared with its copy."""


def write_fused(_: ProgressCallback, model: Keras, prepared: PreparedSource, folder: Path) -> PreparedSource | str:
    """Write the model with layers of tf-keras as a SavedModel of the same signature. Return it, or why it cannot be.

    The result is empty if the model has no LSTM.
    """
    import keras

    require_own_process()  # the names in an export count what TensorFlow and Keras made before in the process
    layers = list(keras.models.load_model(model.path, compile=False)._flatten_layers(include_self=False))
    if not any(isinstance(layer, keras.layers.LSTM) for layer in layers):
        return ""
    if any(isinstance(layer, (keras.layers.GRU, keras.layers.SimpleRNN)) for layer in layers):
        return "it has other recurrent layers, which cannot be fused"
    if any(getattr(layer, "stateful", False) for layer in layers):
        return "a recurrent layer keeps its state from call to call"
    try:
        rebuilt = rebuild_in_tf_keras(model.path, _random_samples(prepared.inputs))
    except (SourceError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        return " ".join(str(error).removeprefix(f"{model.path}: ").split(";")[0].split())[:200]
    names = [str(name) for name in rebuilt.input_names]
    if len(names) == len(prepared.inputs) == 1:
        names = [prepared.inputs[0].name]
    outputs = [spec.name for spec in prepared.outputs]
    if sorted(names) != sorted(spec.name for spec in prepared.inputs) or (
        outputs != [f"output_{place}" for place in range(len(outputs))] and len(outputs) > 1
    ):
        return "its inputs or outputs have other names there"
    _save(rebuilt, (names, outputs), prepared, folder)
    return replace(prepared, path=folder)


def _random_samples(specs: tuple[TensorSpec, ...]) -> Mapping[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {spec: (COMPARED, *(size or 1 for size in (spec.shape or ())[1:])) for spec in specs}
    return {
        spec.name: random.normal(size=shape).astype(spec.dtype)
        if spec.dtype.startswith("float")
        else np.zeros(shape, spec.dtype)
        for spec, shape in shapes.items()
    }


def _save(model: Any, names: tuple[list[str], list[str]], prepared: PreparedSource, folder: Path) -> None:
    """Save the model with the signature of the source."""
    import tensorflow as tf

    inputs, outputs = names

    def answers(arrays: Mapping[str, Any]) -> dict[str, Any]:
        results = tf.nest.flatten(model([arrays[name] for name in inputs], training=False))
        return dict(zip(outputs, results, strict=True))

    specs = {spec.name: tf.TensorSpec(spec.shape, spec.dtype, spec.name) for spec in prepared.inputs}
    module = tf.Module()
    module.model = model
    function = tf.function(lambda **arrays: answers(arrays), autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: function})
