"""Rebuild a Keras 3 model layer by layer in tf-keras.

TensorFlow Model Optimization needs tf-keras, and the converter fuses only an LSTM of tf-keras.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tflq.errors import SourceError

TOLERANCE = 1e-4
"""The allowed difference, relative to a layer's largest output. Sums in another order differ by less."""
RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
"""Layer → its arguments that have another name in tf-keras."""
WRAPPED = ("layer", "backward_layer")
"""The arguments of Bidirectional and TimeDistributed that are layers."""
UNUSED_SUFFIXES = ("_initializer", "_constraint")
"""The suffixes of arguments that a trained layer does not need."""
REMEDY = "remove training, or save the model with Keras 2 (tf-keras)"
Call = Callable[..., Any]
"""`call(name, layer, arguments, options)` returns the output of the layer."""


def rebuild_in_tf_keras(path: Path, samples: Mapping[str, np.ndarray]) -> Any:
    """Return the Keras 3 model of the file as a tf-keras model.

    `samples` are input name → [n, ...]. Raise SourceError with the name of a layer if it cannot be rebuilt, or if its
    outputs on the samples differ.
    """
    import keras
    import tf_keras

    original = keras.models.load_model(path, compile=False)
    if not isinstance(original, keras.Sequential) and not hasattr(original, "_run_through_graph"):
        raise SourceError(f"{path}: is a subclass of Model, so its layers cannot be rebuilt for training; {REMEDY}")
    pairs = _LayerPairs(path)
    inputs = [tf_keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name) for tensor in original.inputs]
    outputs = _follow_graph(original, inputs, pairs.rebuild)
    pairs.copy_weights()
    _follow_graph(original, _in_order(path, original, samples), pairs.compare)
    return tf_keras.Model(inputs, outputs, name=original.name)


def _in_order(path: Path, original: Any, samples: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return the samples in the order of the model's inputs. Keras gives unnamed inputs a new name at each load."""
    names = [tensor.name for tensor in original.inputs]
    if len(names) == len(samples) == 1:
        return list(samples.values())
    if set(names) != set(samples):
        raise SourceError(f"{path}: its inputs {', '.join(names)} have no fixed names; name them to train it")
    return [samples[name] for name in names]


def _follow_graph(model: Any, inputs: Sequence[Any], call: Call, prefix: str = "", is_inference: bool = False) -> Any:
    """Call each layer in the order of the model's graph, also in nested models, and return the outputs.

    If the model is called with `training=False`, so are its batch normalizations.
    """
    import keras

    def step(operation: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        name = f"{prefix}{operation.name}"
        given = {key: value for key, value in options.items() if value is not None}
        if isinstance(operation, keras.Model):
            keeps_statistics = is_inference or given.get("training") is False
            return _follow_graph(operation, arguments, call, f"{name}/", keeps_statistics)
        if is_inference and isinstance(operation, keras.layers.BatchNormalization):
            given["training"] = False
        return call(name, operation, arguments, given)

    if isinstance(model, keras.Sequential):
        (output,) = inputs
        for layer in model.layers:
            output = step(layer, [output], {})
        return output
    return model._run_through_graph(
        inputs, operation_fn=lambda operation: lambda *arguments, **options: step(operation, arguments, options)
    )


@dataclass
class _LayerPairs:
    """The layers of Keras 3 and their copies in tf-keras."""

    path: Path
    pairs: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def rebuild(self, name: str, layer: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Return the output of the copy. A batch normalization called with `training=False` keeps its statistics."""
        if name not in self.pairs:
            copy = self._tf_keras_layer(name, layer)
            if type(layer).__name__ == "BatchNormalization" and options.get("training") is False:
                copy.trainable = False
            self.pairs[name] = (layer, copy)
        try:
            return self.pairs[name][1](*arguments, **options)
        except (TypeError, ValueError, AttributeError) as error:
            raise self._error(name, layer, str(error)) from error

    def _tf_keras_layer(self, name: str, layer: Any) -> Any:
        import tf_keras

        serialized = _serialized(layer)
        kind = getattr(tf_keras.layers, serialized["class_name"], None)
        if serialized["module"] != "keras.layers":
            raise self._error(
                name, layer, f"it is from {serialized['module']}, and only layers of Keras itself are supported"
            )
        if kind is None:
            raise self._error(name, layer, "tf-keras has no such layer")
        try:
            return kind.from_config(_config(kind, serialized["config"]) | {"name": name})
        except KeyError as error:
            raise self._error(name, layer, f"its configuration in Keras 3 lacks {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise self._error(name, layer, str(error)) from error

    def copy_weights(self) -> None:
        for name, (layer, copy) in self.pairs.items():
            try:
                copy.set_weights(layer.get_weights())
            except ValueError as error:
                raise self._error(name, layer, str(error)) from error

    def compare(self, name: str, layer: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Compare both layers on the same arrays, and return the output of the Keras 3 layer."""
        import keras

        output, copied = layer(*arguments, **options), self.pairs[name][1](*arguments, **options)
        for original, copy in zip(keras.tree.flatten(output), keras.tree.flatten(copied), strict=True):
            expected, actual = np.asarray(original, np.float64), np.asarray(copy)
            difference = np.abs(expected - actual).max(initial=0) if expected.shape == actual.shape else np.inf
            if not difference <= TOLERANCE * max(np.abs(expected).max(initial=0), 1e-3):
                raise self._error(name, layer, f"the outputs of the two layers differ by {difference:.3g}")
        return output

    def _error(self, name: str, layer: Any, message: str) -> SourceError:
        kind, reason = type(layer).__name__, " ".join(message.split())[:300]
        return SourceError(f"{self.path}: layer {name!r} ({kind}) cannot be rebuilt in tf-keras: {reason}; {REMEDY}")


def _serialized(layer: Any) -> dict[str, Any]:
    """Return the layer's module, class and configuration. An operation that is not a layer has another module."""
    import keras

    return dict(keras.saving.serialize_keras_object(layer))


def _config(kind: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the tf-keras layer. The comparison of outputs shows whether any is missing."""
    parameters = {name for base in kind.__mro__ for name in inspect.signature(base.__init__).parameters}
    renamed = {RENAMED.get(kind.__name__, {}).get(key, key): value for key, value in config.items()}
    used = {k: v for k, v in renamed.items() if k in parameters and v is not None and not k.endswith(UNUSED_SUFFIXES)}
    return {key: _argument(key, value) for key, value in used.items()} | {"dtype": "float32"}


def _argument(key: str, value: Any) -> Any:
    if key in WRAPPED and isinstance(value, Mapping):
        return _inner_layer(value)
    return _regularizer(value) if key.endswith("_regularizer") else value


def _inner_layer(serialized: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a wrapped layer, as tf-keras reads it. KeyError if tf-keras has no such layer."""
    import tf_keras

    kind = vars(tf_keras.layers)[serialized["class_name"]]
    config = _config(kind, serialized["config"]) | {"name": serialized["config"]["name"]}
    return {"class_name": serialized["class_name"], "config": config}


def _regularizer(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_name": value["class_name"], "config": value["config"]}
