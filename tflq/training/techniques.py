"""Pruning, clustering and quantization-aware training. Each wraps a model, and unwraps it after training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tflq.errors import ConversionError, RecipeError
from tflq.strict import did_you_mean
from tflq.training import quantization
from tflq.training.schema import Technique, Training

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
    names = _names("prune", model, training)
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

    names = _names("cluster", model, training)
    wrapper = quantization.internal("clustering.keras.cluster_wrapper", "ClusterWeights")
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
    return tuple(layer for layer in _candidates(model, training) if layer.weights and not _supports(technique, layer))


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


def _supports(technique: Technique, layer: Any) -> bool:
    registries = {
        "prune": ("sparsity.keras.prune_registry", "PruneRegistry"),
        "cluster": ("clustering.keras.clustering_registry", "ClusteringRegistry"),
    }
    return bool(quantization.internal(*registries[technique]).supports(layer))


def _names(technique: Technique, model: Any, training: Training) -> tuple[str, ...]:
    """Return the names of the layers to wrap for pruning or clustering."""
    return tuple(layer.name for layer in _candidates(model, training) if _supports(technique, layer))
