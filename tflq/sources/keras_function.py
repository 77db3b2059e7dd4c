"""The function of a Keras 3 model, with the signature that its export would have.

Keras traces and saves each layer when it exports a model, and TensorFlow then loads the export. That takes longer than
all else that is done with a small model. Here only the function of the whole model is traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TracedModel:
    """A Keras 3 model with its function."""

    function: Any
    """The concrete function for any batch size.

    Its parameters have the names of the model's inputs, and it returns a dict of outputs by name.
    """
    model: Any
    """The model. It is held here since the function has only weak references to the variables."""


def traced(model: Any) -> TracedModel | None:
    """Trace the model; return None if only an export shows its signature.

    That is so for subclassed models, sparse or ragged inputs, nested outputs, and names of inputs that are no
    identifiers. Raises what Keras and TensorFlow raise if the model cannot be traced.
    """
    import tensorflow as tf

    inputs = _inputs(model)
    tensors = [] if inputs is None else tf.nest.flatten(inputs)
    names = [tensor.name.partition(":")[0] for tensor in tensors]
    if not all(name.isidentifier() and name.isascii() for name in names) or len({*names}) < max(len(names), 1):
        return None
    if any(getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False) for tensor in tensors):
        return None
    specs = {
        name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name)
        for name, tensor in zip(names, tensors, strict=True)
    }

    def answers(arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        given = tf.nest.pack_sequence_as(inputs, [arrays[name] for name in names])
        return _named(model(given, training=False))  # layers of augmentation are active by default

    serve = tf.function(lambda **arrays: answers(arrays), autograph=False)
    function = serve.get_concrete_function(**specs)
    is_flat = all(isinstance(output, (tf.Tensor, tf.TensorSpec)) for output in function.structured_outputs.values())
    return TracedModel(function, model) if is_flat else None


def _inputs(model: Any) -> Any | None:
    """Return the symbolic inputs, as the model takes them; None for a subclassed model, which may have none."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    return inputs[0] if len(inputs) == 1 and hasattr(model, "add") else model.input  # a Sequential has `add`


def _named(outputs: Any) -> Mapping[str, Any]:
    """Return the outputs by name: by their own keys if they have some, else by their position, as TensorFlow does."""
    if isinstance(outputs, Mapping):
        return outputs
    listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return {f"output_{place}": output for place, output in enumerate(listed)}
