"""Rebuild a tf-keras model call by call, so that layers can be replaced by several others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Replace = Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]
"""A function of a layer, its arguments and its options. It returns the output in the new model."""


@dataclass(frozen=True)
class LayerGraph:
    """The calls of a tf-keras model in their order, and who makes and uses each tensor."""

    model: Any

    def nodes(self) -> Iterator[Any]:
        """Yield the calls of layers; a call comes after those that it depends on."""
        for depth in sorted(self.model._nodes_by_depth, reverse=True):
            yield from (node for node in self.model._nodes_by_depth[depth] if not node.is_input)

    def producers(self) -> dict[int, Any]:
        """Return the layer that makes each tensor, by the tensor's id."""
        return {id(tensor): node.layer for node in self.nodes() for tensor in _flat(node.outputs)}

    def users(self) -> dict[int, list[Any]]:
        """Return the layers that take each tensor, by the tensor's id. None stands for an output of the model."""
        users: dict[int, list[Any]] = {}
        for node in self.nodes():
            for tensor in node.keras_inputs:
                users.setdefault(id(tensor), []).append(node.layer)
        for tensor in self.model.outputs:
            users.setdefault(id(tensor), []).append(None)
        return users

    def calls(self) -> Counter[str]:
        """Return how often the model calls each layer."""
        return Counter(node.layer.name for node in self.nodes())

    def rebuilt(self, replace: Replace) -> Any:
        """Return a model that has the result of `replace` in place of each call of a layer."""
        import tf_keras

        names = [layer.name for layer in self.model._input_layers]
        inputs = [
            tf_keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
            for tensor, name in zip(self.model.inputs, names, strict=True)
        ]
        return tf_keras.Model(inputs, self.follow(inputs, replace), name=self.model.name)

    def follow(self, inputs: Sequence[Any], replace: Replace) -> list[Any]:
        """Return the outputs of the model for these inputs, with the result of `replace` for each call of a layer."""
        counts = {key: len(layers) for key, layers in self.users().items()}
        outputs = {id(old): new for old, new in zip(self.model.inputs, inputs, strict=True)}
        tensors = {str(key): [new] * counts.get(key, 1) for key, new in outputs.items()}
        for node in self.nodes():
            arguments, options = node.map_arguments(tensors)
            results = _flat(replace(node.layer, arguments, options))
            for old, new in zip(_flat(node.outputs), results, strict=True):
                tensors[str(id(old))], outputs[id(old)] = [new] * counts.get(id(old), 1), new
        return [outputs[id(tensor)] for tensor in self.model.outputs]


@dataclass(frozen=True)
class LayerCopies:
    """The copies of layers, each with the weights of its original. A layer that is called twice has one copy."""

    copies: dict[str, Any] = field(default_factory=dict)

    def call(self, layer: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Return the output of the layer's copy."""
        if layer.name in self.copies:
            return self.copies[layer.name](*arguments, **options)
        self.copies[layer.name] = layer.__class__.from_config(layer.get_config())
        output = self.copies[layer.name](*arguments, **options)
        self.copies[layer.name].set_weights(layer.get_weights())
        return output


def call_with_weights(layer: Any, weights: Sequence[Any], x: Any) -> Any:
    """Call the layer for the first time, set its weights, and return its output."""
    output = layer(x)
    layer.set_weights(weights)
    return output


def _flat(value: Any) -> list[Any]:
    import tensorflow as tf

    return list(tf.nest.flatten(value))
