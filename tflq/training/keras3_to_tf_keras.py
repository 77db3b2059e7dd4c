"""A Keras 3 model rebuilt, layer by layer, in tf-keras, which is what TensorFlow Model Optimization works with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tflq.errors import SourceError

TOLERANCE = 1e-4
"""Of a layer's largest answer: sums in another order differ by less, another computation by more."""
RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
"""Arguments of layers that tf-keras calls otherwise."""
LEFT_OUT = ("_initializer", "_constraint")
"""Ends of the arguments that a trained layer does without."""
REMEDY = "leave training out, or give the model as Keras 2 (tf-keras) saves it"
Call = Callable[..., Any]
"""`call(name, layer, arguments, options)`: what the layer answers to them."""


def rebuild_in_tf_keras(path: Path, samples: Mapping[str, np.ndarray]) -> Any:
    """The Keras 3 model of the file as a tf-keras model; SourceError with the layer that stands in the way.

    Every layer of both must answer the samples alike: input name → [n, ...].
    """
    import keras
    import tf_keras

    original = keras.models.load_model(path, compile=False)
    if not isinstance(original, keras.Sequential) and not hasattr(original, "_run_through_graph"):
        raise SourceError(f"{path}: is a subclass of Model, whose layers cannot be rebuilt to train; {REMEDY}")
    twins = _LayerPairs(path)
    inputs = [tf_keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name) for tensor in original.inputs]
    outputs = _through(original, inputs, twins.rebuild)
    twins.take_weights()
    _through(original, _in_order(path, original, samples), twins.compare)
    return tf_keras.Model(inputs, outputs, name=original.name)


def _in_order(path: Path, original: Any, samples: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The samples as the model takes them; what nobody named has another name each time that it is loaded."""
    names = [tensor.name for tensor in original.inputs]
    if len(names) == len(samples) == 1:
        return list(samples.values())
    if set(names) != set(samples):
        raise SourceError(f"{path}: its inputs {', '.join(names)} have no lasting names; name them, to train it")
    return [samples[name] for name in names]


def _through(model: Any, inputs: Sequence[Any], call: Call, within: str = "") -> Any:
    """Follow the model's graph from the inputs to what it answers, through the models inside of it too."""
    import keras

    def step(operation: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        name = f"{within}{operation.name}"
        if isinstance(operation, keras.Model):
            return _through(operation, arguments, call, f"{name}/")
        return call(name, operation, arguments, {key: value for key, value in options.items() if value is not None})

    if isinstance(model, keras.Sequential):
        (answer,) = inputs
        for layer in model.layers:
            answer = step(layer, [answer], {})
        return answer
    return model._run_through_graph(
        inputs, operation_fn=lambda operation: lambda *arguments, **options: step(operation, arguments, options)
    )


@dataclass
class _LayerPairs:
    """Layers of Keras 3, and the layers of tf-keras that stand for them."""

    path: Path
    pairs: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def rebuild(self, name: str, layer: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        if name not in self.pairs:
            self.pairs[name] = (layer, self._twin(name, layer))
        try:
            return self.pairs[name][1](*arguments, **options)
        except (TypeError, ValueError, AttributeError) as error:
            raise self._error(name, layer, str(error)) from error

    def _twin(self, name: str, layer: Any) -> Any:
        import tf_keras

        serialized = _serialized(layer)
        kind = getattr(tf_keras.layers, serialized["class_name"], None)
        if serialized["module"] != "keras.layers":
            raise self._error(name, layer, f"it is of {serialized['module']}, and only Keras's own layers are known")
        if kind is None:
            raise self._error(name, layer, "tf-keras has no such layer")
        try:
            return kind.from_config(_config(kind, serialized["config"]) | {"name": name})
        except KeyError as error:
            raise self._error(name, layer, f"what Keras 3 keeps of it lacks {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise self._error(name, layer, str(error)) from error

    def take_weights(self) -> None:
        for name, (theirs, ours) in self.pairs.items():
            try:
                ours.set_weights(theirs.get_weights())
            except ValueError as error:
                raise self._error(name, theirs, str(error)) from error

    def compare(self, name: str, layer: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Both layers on the same arrays; what theirs answers goes on to the next."""
        answer = layer(*arguments, **options)
        expected, found = np.asarray(answer, np.float64), np.asarray(self.pairs[name][1](*arguments, **options))
        difference = np.abs(expected - found).max(initial=0) if expected.shape == found.shape else np.inf
        if not difference <= TOLERANCE * max(np.abs(expected).max(initial=0), 1e-3):
            raise self._error(name, layer, f"the two answer differently, by {difference:.3g}")
        return answer

    def _error(self, name: str, layer: Any, said: str) -> SourceError:
        kind, told = type(layer).__name__, " ".join(said.split())[:300]
        return SourceError(f"{self.path}: layer {name!r} ({kind}) cannot be rebuilt in tf-keras: {told}; {REMEDY}")


def _serialized(layer: Any) -> dict[str, Any]:
    """Its module, class and configuration; what is no layer but an operation has a module of its own."""
    import keras

    return dict(keras.saving.serialize_keras_object(layer))


def _config(kind: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """What the tf-keras layer takes of it; what it must not lack shows when the two are compared."""
    known = {name for each in kind.__mro__ for name in inspect.signature(each.__init__).parameters}
    renamed = {RENAMED.get(kind.__name__, {}).get(key, key): value for key, value in config.items()}
    kept = {k: v for k, v in renamed.items() if k in known and v is not None and not k.endswith(LEFT_OUT)}
    return {key: _regularizer(value) if key.endswith("_regularizer") else value for key, value in kept.items()} | {
        "dtype": "float32"
    }


def _regularizer(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_name": value["class_name"], "config": value["config"]}
