"""Checks before the first epoch: every layer can be trained, and the trained model can be saved."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tflq.datasets import TensorSpec
from tflq.errors import SourceError
from tflq.sources.prepared import SIGNATURE
from tflq.training import pruning, quantization, techniques
from tflq.training.schema import Technique, Training
from tflq.training.source import Trainable


def refused_techniques(
    trainable: Trainable, training: Training, wanted: Sequence[Technique], specs: Sequence[TensorSpec]
) -> dict[Technique, SourceError]:
    """Return why each technique cannot be used; empty if all can. Each message names the layers of all techniques."""
    layers = {technique: techniques.refused_layers(technique, trainable.model, training) for technique in wanted}
    refused = {technique: found for technique, found in layers.items() if found}
    if refused:
        error = SourceError(_message(refused, training))
        return dict.fromkeys(refused, error)
    if "prune" in wanted and training.pruning is not None:
        try:
            pruning.refuse_policy(trainable.model, training.pruning)
        except SourceError as error:
            return {"prune": error}
    _save_once(trainable, training, wanted, specs)
    return {}


def _message(refused: Mapping[Technique, Sequence[Any]], training: Training) -> str:
    parts = []
    for technique, layers in refused.items():
        manner = pruning.structure_in_words(training.pruning) if technique == "prune" else ""
        told = ", ".join(f"{layer.name!r} ({layer.__class__.__name__})" for layer in layers)
        parts.append(f"cannot {technique}{manner} {told}")
    names = dict.fromkeys([*training.skip_layers, *(layer.name for layers in refused.values() for layer in layers)])
    return (
        f"TensorFlow Model Optimization {' and '.join(parts)}; to leave these layers untrained, write"
        f" skip_layers: [{', '.join(names)}] in training"
    )


def _save_once(
    trainable: Trainable, training: Training, wanted: Sequence[Technique], specs: Sequence[TensorSpec]
) -> None:
    """Save each model as it is before training. Raise SourceError if one cannot be saved."""
    models = [trainable.model] if set(wanted) - {"quantize"} else []
    if "quantize" in wanted:
        skipped = techniques.skipped_layers(trainable.model, training)
        models.append(quantization.quantized(trainable.model, training, skipped, is_untrained=True).model)
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            export(trainable, model, specs, Path(folder))


def export(trainable: Trainable, model: Any, specs: Sequence[TensorSpec], folder: Path) -> None:
    """Save the model as a SavedModel with the signature of the source. Raise SourceError if that fails.

    The SavedModel has the variables of the model, but not its layers. Some layers refer to tensors of the graph in
    which they were made, and cannot be saved.
    """
    import tensorflow as tf

    by_name = {spec.name: spec for spec in specs}
    signature = [tf.TensorSpec(by_name[name].shape, by_name[name].dtype, name) for name in trainable.inputs]
    module = tf.Module()
    module.resources = list(model.variables)
    serve = tf.function(
        lambda *arrays: {trainable.output: model(list(arrays), training=False)}, input_signature=signature
    )
    try:
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: serve})
    except (ValueError, AssertionError, TypeError, RuntimeError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SourceError(f"the model cannot be saved as it is trained: {reason}; remove training") from error
