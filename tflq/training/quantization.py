"""Quantization-aware training: which layers get fake-quantize ops, and where."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tflq.errors import SourceError
from tflq.training.added_ranges import with_ranges
from tflq.training.quantizable import ACTIVATIONS, is_normalization, make_quantizable
from tflq.training.rescaling import is_rescaling
from tflq.training.schema import Training
from tflq.training.tfmot_internals import internal

SCHEMES = {
    (False, False): ("quantization.keras.default_8bit.default_8bit_quantize_scheme", "Default8BitQuantizeScheme"),
    (True, False): (
        "quantization.keras.collab_opts.prune_preserve.default_8bit_prune_preserve_quantize_scheme",
        "Default8BitPrunePreserveQuantizeScheme",
    ),
    (False, True): (
        "quantization.keras.collab_opts.cluster_preserve.default_8bit_cluster_preserve_quantize_scheme",
        "Default8BitClusterPreserveQuantizeScheme",
    ),
}

PLAIN = SCHEMES[False, False]


@dataclass(frozen=True)
class QuantizedModel:
    """The model with fake-quantize ops, and the layers that have none."""

    model: Any
    refused: tuple[Any, ...]
    """The layers with weights that cannot be quantized."""
    left_in_float: tuple[str, ...]
    """The layers without weights that cannot be quantized. Their inputs and outputs have ranges."""


def quantized(model: Any, training: Training, skipped: Collection[str], is_untrained: bool = False) -> QuantizedModel:
    """Return the model with fake-quantize ops in all layers that support them, except the `skipped` ones.

    An untrained model has no zeros or clusters yet, so it gets the plain fake-quantize ops. Those that keep clusters
    take memory for each of its different weights. Raise SourceError if TensorFlow Model Optimization fails without
    naming a layer.
    """
    rewritten = make_quantizable(model, skipped)
    scheme, plain = _scheme(training), internal(*PLAIN)()
    keeping, default = scheme.get_quantize_registry(), plain.get_quantize_registry()
    layers = [
        layer for layer in rewritten.layers if layer.__class__.__name__ != "InputLayer" and layer.name not in skipped
    ]
    names = [layer.name for layer in layers if _is_supported(layer, default, keeping)]
    scheme = plain if is_untrained else scheme
    result, unsupported = _applied(rewritten, names, skipped, scheme)
    while unsupported is not None:
        names.remove(unsupported)
        result, unsupported = _applied(rewritten, names, skipped, scheme)
    others = [layer for layer in layers if layer.name not in names]
    left_in_float = tuple(layer.name for layer in others if not layer.weights and not is_rescaling(layer))
    return QuantizedModel(result, tuple(layer for layer in others if layer.weights), left_in_float)


def _is_supported(layer: Any, default: Any, keeping: Any) -> bool:
    """Return whether the layer can be quantized, and keeps the zeros and clusters of the techniques before."""
    if layer.__class__.__name__ == "Activation" and layer.activation.__name__ not in (*ACTIVATIONS, "relu6"):
        return False
    return is_normalization(layer) or bool(default.supports(layer) and keeping.supports(layer))


def _applied(model: Any, names: Sequence[str], skipped: Collection[str], scheme: Any) -> tuple[Any, str | None]:
    """Return the model with these layers quantized, or the name of a layer that is not supported."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    if not names:
        raise SourceError("TensorFlow Model Optimization can quantize none of the layers; remove quantize")
    quantization = tfmot.quantization.keras

    def annotate(layer: Any) -> Any:
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer.__class__.from_config(layer.get_config())
        return quantization.quantize_annotate_layer(layer) if layer.name in names else layer

    annotated = tf_keras.models.clone_model(with_ranges(model, names, skipped), clone_function=annotate)
    try:
        with quantization.quantize_scope():
            return quantization.quantize_apply(annotated, scheme), None
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        match = re.match(r"Layer (\S+?):<class", reason)
        if match and match[1] in names:
            return None, match[1]
        raise SourceError(
            f"TensorFlow Model Optimization cannot quantize this model: {reason[:400]}; name the layers that cause it"
            " in training.skip_layers, so that they are not trained"
        ) from error


def _scheme(training: Training) -> Any:
    """Return the scheme that keeps what pruning and clustering did, in the layers that it supports."""
    is_pruned, is_clustered = ("prune" in training.techniques, "cluster" in training.techniques)
    kind = internal(*SCHEMES[is_pruned and not is_clustered, is_clustered])
    return kind(is_pruned) if is_clustered else kind()
