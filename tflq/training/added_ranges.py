"""Fake-quantize ops around the layers that TensorFlow Model Optimization does not quantize."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tflq.training.graph import LayerCopies, LayerGraph
from tflq.training.rescaling import is_rescaling
from tflq.training.tfmot_internals import internal

SAME_VALUES = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "ActivityRegularization"),
    *("GaussianNoise", "GaussianDropout", "AlphaDropout", "Flatten", "Reshape", "Permute", "RepeatVector"),
)
"""The layers whose outputs are values of their inputs when the model is used, so that both have the same range."""


def with_ranges(model: Any, quantized: Collection[str], skipped: Collection[str]) -> Any:
    """Return the model with a fake-quantize op at each activation that needs a range and gets it from no layer.

    These are the inputs of all layers but the `skipped` ones, and the outputs of each Rescaling. TensorFlow Model
    Optimization gives a range to the outputs of `quantized` layers, and to each input that such a layer reads.
    """
    graph = LayerGraph(model)
    return graph.rebuilt(_RangeAdder(_without_ranges(graph, quantized, skipped)).replace)


def _without_ranges(graph: LayerGraph, quantized: Collection[str], skipped: Collection[str]) -> set[str]:
    """Return the names of the layers whose outputs need a range; those of input layers are among them."""
    users = graph.users()
    layers = {node.layer.name: node.layer for node in graph.nodes()}
    have_ranges = {name for name, layer in layers.items() if layer.__class__.__name__ in SAME_VALUES} | {*quantized}
    integer = {name for name, layer in layers.items() if name in have_ranges or not (layer.weights or name in skipped)}

    def needs_range(name: str, tensor: Any) -> bool:
        readers = {user.name for user in users.get(id(tensor), ()) if user is not None}
        return bool(readers & integer) or (name in integer and is_rescaling(layers[name]))

    outputs = {node.layer.name for node in graph.nodes() if needs_range(node.layer.name, node.outputs)} - have_ranges
    inputs = {
        layer.name: {user.name for user in users.get(id(tensor), ()) if user is not None}
        for layer, tensor in zip(graph.model._input_layers, graph.model.inputs, strict=True)
    }
    return outputs | {name for name, readers in inputs.items() if readers & integer and not readers & {*quantized}}


class _RangeAdder:
    def __init__(self, needed: Collection[str]) -> None:
        self.needed, self.copies, self.calls = needed, LayerCopies(), Counter[str]()
        self.inputs: dict[str, Any] = {}
        """The range of each input that needs one, by the name of the input."""

    def replace(self, layer: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        import tensorflow as tf

        given = tf.nest.map_structure(self._of_input, list(arguments))
        output = self.copies.call(layer, given, options)
        return self._ranged(layer.name, output) if layer.name in self.needed else output

    def _of_input(self, value: Any) -> Any:
        """Return the value, or its range if it is an input of the model that needs one."""
        layer = value._keras_history.layer if hasattr(value, "_keras_history") else None
        if layer is None or layer.__class__.__name__ != "InputLayer" or layer.name not in self.needed:
            return value
        if layer.name not in self.inputs:
            self.inputs[layer.name] = self._ranged(layer.name, value)
        return self.inputs[layer.name]

    def _ranged(self, name: str, tensor: Any) -> Any:
        if not tensor.dtype.is_floating:
            return tensor
        self.calls[name] += 1
        number = "" if self.calls[name] == 1 else f"_{self.calls[name]}"  # a layer that is called more than once
        return _range_layer(f"{name}_range{number}")(tensor)


def _range_layer(name: str) -> Any:
    import tensorflow_model_optimization as tfmot

    quantizer = tfmot.quantization.keras.quantizers.MovingAverageQuantizer(
        num_bits=8, per_axis=False, symmetric=False, narrow_range=False
    )
    return internal("quantization.keras.quantize_layer", "QuantizeLayer")(quantizer, name=name)
