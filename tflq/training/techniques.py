"""Pruning, clustering and quantization-aware training. Each wraps a model, and unwraps it after training."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NoReturn

from tflq.errors import ConversionError, RecipeError, SourceError
from tflq.strict import did_you_mean
from tflq.training.schema import Technique, Training

PREFIX = "tensorflow_model_optimization.python.core"
SCHEMES = {
    (False, False): ("default_8bit.default_8bit_quantize_scheme", "Default8BitQuantizeScheme"),
    (True, False): (
        "collab_opts.prune_preserve.default_8bit_prune_preserve_quantize_scheme",
        "Default8BitPrunePreserveQuantizeScheme",
    ),
    (False, True): (
        "collab_opts.cluster_preserve.default_8bit_cluster_preserve_quantize_scheme",
        "Default8BitClusterPreserveQuantizeScheme",
    ),
}
RAMP = 0.5
"""The share of the steps in which the sparsity grows. In the others, the remaining weights adapt."""
MAX_PRUNING_STEPS = 100
"""The largest number of steps that prune weights while the sparsity grows."""


@dataclass(frozen=True)
class WrappedModel:
    """A model that is wrapped for the training with a technique."""

    model: Any
    callbacks: tuple[Any, ...]
    unwrap: Callable[[Any], Any]
    """Return the trained model without the parts that only training needs."""
    first_usable_epoch: int = 1
    """The first epoch, from 1, after which the technique is complete, for example at its target sparsity."""


def skipped_layers(model: Any, training: Training) -> tuple[str, ...]:
    """Return the names of the layers that `skip_layers` matches. Raise RecipeError if a pattern matches none."""
    names = [layer.name for layer in model.layers if layer.__class__.__name__ != "InputLayer"]
    for pattern in training.skip_layers:
        if not any(fnmatchcase(name, pattern) for name in names):
            hint = did_you_mean(pattern, names)
            raise RecipeError(
                f"training.skip_layers: {pattern!r} matches no layer{hint}; the layers are {', '.join(names)}"
            )
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in training.skip_layers))


def wrap(technique: Technique, model: Any, training: Training, steps: int) -> WrappedModel:
    """Wrap the model for a technique that trains for `steps` steps.

    Raise SourceError with the layers that the technique does not support.
    """
    return {"prune": _prune, "cluster": _cluster, "quantize": _quantize}[technique](model, training, steps)


def _clone(model: Any, wrap_layer: Callable[[Any], Any], names: Sequence[str]) -> Any:
    """Return a copy of the model in which the layers of these names are wrapped."""
    import tf_keras

    def clone(layer: Any) -> Any:
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer.__class__.from_config(layer.get_config())
        return wrap_layer(layer) if layer.name in names else layer

    return tf_keras.models.clone_model(model, clone_function=clone)


def _prune(model: Any, training: Training, steps: int) -> WrappedModel:
    import tensorflow_model_optimization as tfmot

    sparsity = tfmot.sparsity.keras
    registry = _internal("sparsity.keras.prune_registry", "PruneRegistry")
    names = _layers_to_wrap(model, training, "prune", registry.supports)
    ramp = max(1, int(steps * RAMP))
    frequency = -(-ramp // MAX_PRUNING_STEPS)
    pruning = training.pruning
    assert pruning is not None
    target = pruning.target_sparsity
    if pruning.schedule == "constant":
        schedule, ramp = sparsity.ConstantSparsity(target, 0, frequency=frequency), 0
    else:
        end = ramp // frequency * frequency
        schedule = sparsity.PolynomialDecay(0.0, target, 0, end, frequency=frequency)
    pruned = _clone(model, lambda layer: sparsity.prune_low_magnitude(layer, schedule), names)
    first_usable_epoch = max(1, -(-ramp * training.epochs // steps))

    def unwrap(trained: Any) -> Any:
        stripped = sparsity.strip_pruning(trained)
        _refuse_too_few_zeros([layer for layer in stripped.layers if layer.name in names], target)
        return stripped

    return WrappedModel(pruned, (sparsity.UpdatePruningStep(),), unwrap, first_usable_epoch)


def _refuse_too_few_zeros(layers: Sequence[Any], target: float) -> None:
    kernels = {layer.name: layer.kernel.numpy() for layer in layers if hasattr(layer, "kernel")}
    for name, kernel in kernels.items():
        share = float((kernel == 0).mean())
        if share < target - 0.01 - 1 / kernel.size:
            raise ConversionError(
                f"layer {name!r} has {share:.0%} zeros after pruning, but the target is {target:.0%}: there were too"
                " few steps; raise training.epochs or lower training.batch_size"
            )


def _cluster(model: Any, training: Training, _: int) -> WrappedModel:
    import tensorflow_model_optimization as tfmot

    registry = _internal("clustering.keras.clustering_registry", "ClusteringRegistry")
    names = _layers_to_wrap(model, training, "cluster", registry.supports)
    wrapper = _internal("clustering.keras.cluster_wrapper", "ClusterWeights")
    assert training.clustering is not None
    options = {
        "number_of_clusters": training.clustering.clusters,
        "cluster_centroids_init": tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        "preserve_sparsity": "prune" in training.techniques,
    }
    clustered = _clone(model, lambda layer: wrapper(layer, **options), names)
    return WrappedModel(clustered, (), tfmot.clustering.keras.strip_clustering)


def _quantize(model: Any, training: Training, _: int) -> WrappedModel:
    scheme = _scheme(training)
    registry = scheme.get_quantize_registry()
    names = _layers_to_wrap(
        model, training, "quantize", lambda layer: registry.supports(layer) or _is_normalization(layer)
    )
    refused: list[str] = []
    quantized, unsupported = _quantized(model, names, scheme)
    while unsupported is not None:
        refused.append(unsupported)
        quantized, unsupported = _quantized(model, [name for name in names if name not in refused], scheme)
    if refused:
        _refuse("quantize", [layer for layer in model.layers if layer.name in refused])
    return WrappedModel(quantized, (), lambda trained: trained)


def _is_normalization(layer: Any) -> bool:
    """Return whether the layer can only be quantized after a convolution, because both become one op."""
    return layer.__class__.__name__ in ("BatchNormalization", "SyncBatchNormalization")


def _quantized(model: Any, names: Sequence[str], scheme: Any) -> tuple[Any, str | None]:
    """Return the model with these layers quantized, or the name of a layer that is not supported."""
    import tensorflow_model_optimization as tfmot

    quantization = tfmot.quantization.keras
    annotated = _clone(model, quantization.quantize_annotate_layer, names)
    try:
        with quantization.quantize_scope():
            return quantization.quantize_apply(annotated, scheme), None
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        match = re.match(r"Layer (\S+?):<class", reason)
        if match and match[1] in names:
            return None, match[1]
        raise SourceError(
            f"TensorFlow Model Optimization cannot quantize this model: {reason[:400]}; {REMEDY}"
        ) from error


def _scheme(training: Training) -> Any:
    is_pruned, is_clustered = ("prune" in training.techniques, "cluster" in training.techniques)
    module, name = SCHEMES[is_pruned and not is_clustered, is_clustered]
    kind = _internal(f"quantization.keras.{module}", name)
    return kind(is_pruned) if is_clustered else kind()


def _internal(module: str, name: str) -> Any:
    """Return an object of tfmot that its public interface does not have."""
    return getattr(importlib.import_module(f"{PREFIX}.{module}"), name)


REMEDY = "name these layers in training.skip_layers, so that they are not trained"


def _layers_to_wrap(
    model: Any, training: Training, technique: Technique, supports: Callable[[Any], bool]
) -> tuple[str, ...]:
    """Return the names of the layers to wrap. Raise SourceError if a layer is neither supported nor skipped."""
    skipped = skipped_layers(model, training)
    layers = [layer for layer in model.layers if layer.__class__.__name__ != "InputLayer" and layer.name not in skipped]
    unsupported = [layer for layer in layers if not supports(layer) and (technique == "quantize" or layer.weights)]
    if unsupported:
        _refuse(technique, unsupported)
    return tuple(layer.name for layer in layers if supports(layer))


def _refuse(technique: Technique, layers: Sequence[Any]) -> NoReturn:
    names = ", ".join(f"{layer.name!r} ({layer.__class__.__name__})" for layer in layers)
    raise SourceError(f"TensorFlow Model Optimization cannot {technique} {names}; {REMEDY}")
