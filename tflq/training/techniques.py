"""Pruning, clustering and quantization-aware training. Each wraps a model, and unwraps it after training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tflq.errors import RecipeError
from tflq.strict import did_you_mean
from tflq.training import pruning, quantization
from tflq.training.schema import Technique, Training
from tflq.training.tfmot_internals import internal


@dataclass(frozen=True)
class WrappedModel:
    """A model that is wrapped for the training with a technique."""

    model: Any
    callbacks: tuple[Any, ...]
    unwrap: Callable[[Any], Any]
    """Return the trained model without the parts that only training needs."""
    first_usable_epoch: int = 1
    """The first epoch, from 1, after which the technique is complete, for example at its target sparsity."""
    left_in_float: tuple[str, ...] = ()
    """The layers without weights that quantization-aware training leaves in float."""


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

    The model has none of the layers that `refused_layers` returns. Raise SourceError if the technique fails.
    """
    return {"prune": _prune, "cluster": _cluster, "quantize": _quantize}[technique](model, training, steps)


def _quantize(model: Any, training: Training, _: int) -> WrappedModel:
    quantized = quantization.quantized(model, training, skipped_layers(model, training))
    return WrappedModel(quantized.model, (), lambda trained: trained, left_in_float=quantized.left_in_float)


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
    names, section = _names("prune", model, training), training.pruning
    assert section is not None
    wrapper, ramp = pruning.wrapper_of(section, steps)
    pruned = _clone(model, wrapper, names)
    first_usable_epoch = max(1, -(-ramp * training.epochs // steps))

    def unwrap(trained: Any) -> Any:
        stripped = sparsity.strip_pruning(trained)
        pruning.refuse_too_few_zeros([layer for layer in stripped.layers if layer.name in names], section)
        return stripped

    return WrappedModel(pruned, (sparsity.UpdatePruningStep(),), unwrap, first_usable_epoch)


def _cluster(model: Any, training: Training, _: int) -> WrappedModel:
    import tensorflow_model_optimization as tfmot

    names = _names("cluster", model, training)
    wrapper = internal("clustering.keras.cluster_wrapper", "ClusterWeights")
    assert training.clustering is not None
    options = {
        "number_of_clusters": training.clustering.clusters,
        "cluster_centroids_init": tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        "preserve_sparsity": "prune" in training.techniques,
    }
    clustered = _clone(model, lambda layer: wrapper(layer, **options), names)
    return WrappedModel(clustered, (), tfmot.clustering.keras.strip_clustering)


def refused_layers(technique: Technique, model: Any, training: Training) -> tuple[Any, ...]:
    """Return the layers that the technique does not support and that `skip_layers` does not match."""
    if technique == "quantize":
        return quantization.quantized(model, training, skipped_layers(model, training), is_untrained=True).refused
    weighted = [layer for layer in _candidates(model, training) if layer.weights]
    return tuple(layer for layer in weighted if not _supports(technique, layer, training))


def unchanged_kernels(model: Any, training: Training, techniques: Sequence[Technique]) -> tuple[str, ...]:
    """Return the names of the layers whose depthwise kernels pruning and clustering leave as they are.

    TensorFlow Model Optimization changes the pointwise kernel of a separable convolution, but no depthwise kernel.
    """
    if {*techniques} <= {"quantize"}:
        return ()
    return tuple(layer.name for layer in _candidates(model, training) if hasattr(layer, "depthwise_kernel"))


def _candidates(model: Any, training: Training) -> list[Any]:
    skipped = skipped_layers(model, training)
    return [layer for layer in model.layers if layer.__class__.__name__ != "InputLayer" and layer.name not in skipped]


def _supports(technique: Technique, layer: Any, training: Training) -> bool:
    """Return whether the technique can change the layer, or has nothing to do with it."""
    if technique == "cluster":
        return bool(internal("clustering.keras.clustering_registry", "ClusteringRegistry").supports(layer))
    section = training.pruning
    assert section is not None
    return not pruning.is_chosen(layer, section) or (pruning.supports(layer) and pruning.fits(layer, section))


def _names(technique: Technique, model: Any, training: Training) -> tuple[str, ...]:
    """Return the names of the layers to wrap for pruning or clustering."""
    names = tuple(layer.name for layer in _candidates(model, training) if _supports(technique, layer, training))
    section = training.pruning
    if technique == "prune" and section is not None and section.policy != "all":
        chosen = {layer.name for layer in model.layers if pruning.is_chosen(layer, section)}
        return tuple(name for name in names if name in chosen)
    return names
