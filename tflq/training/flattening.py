"""Replace the models inside a tf-keras model by their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tflq.errors import SourceError
from tflq.training.graph import LayerGraph
from tflq.training.quantizable import is_normalization


def flattened(model: Any, path: Path) -> Any:
    """Return a model without models inside. A layer `conv` of the model `body` becomes `body/conv`.

    `path` is the file of the model, for messages. Raise SourceError if a model inside is a subclass of Model.
    """
    import tf_keras

    if not any(isinstance(layer, tf_keras.Model) for layer in model.layers):
        return model
    return LayerGraph(model).rebuilt(_Flattener(path).replace)


@dataclass(frozen=True)
class _Flattener:
    """The replacement of the layers of one model: the outer one, or one inside."""

    path: Path
    prefix: str = ""
    is_inference: bool = False
    """Whether the model is called with `training=False`, so that its batch normalizations keep their statistics."""
    copies: dict[int, Any] = field(default_factory=dict)
    """The copy of each layer of all models, by the id of the layer."""

    def replace(self, layer: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        import tf_keras

        name = f"{self.prefix}{layer.name}"
        given = {key: value for key, value in options.items() if value is not None}
        if not isinstance(layer, tf_keras.Model):
            return self._call(layer, name, arguments, given)
        if not getattr(layer, "_is_graph_network", False):
            raise SourceError(
                f"{self.path}: layer {name!r} is a subclass of Model, but only Sequential and Functional models can be"
                " trained; build it as one of these, or remove training"
            )
        is_inference = self.is_inference or given.get("training") is False
        inner = replace(self, prefix=f"{name}/", is_inference=is_inference)
        return LayerGraph(layer).follow(layer._flatten_to_reference_inputs(arguments[0]), inner.replace)

    def _call(self, layer: Any, name: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        if id(layer) in self.copies:
            return self.copies[id(layer)](*arguments, **options)
        config = layer.get_config() | {"name": self._unique(name)}
        if self.is_inference and is_normalization(layer):
            config["trainable"] = False
        copy = self.copies[id(layer)] = layer.__class__.from_config(config)
        output = copy(*arguments, **options)
        copy.set_weights(layer.get_weights())
        return output

    def _unique(self, name: str) -> str:
        taken = {copy.name for copy in self.copies.values()}
        while name in taken:
            name = f"{name}_1"
        return name
