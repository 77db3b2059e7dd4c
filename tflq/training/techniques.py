"""Pruning, clustering and quantization-aware training: each wraps a model for training, and takes what was trained."""

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
"""The share of the steps in which the sparsity grows; the rest is for the weights that are left."""
PRUNINGS = 100
"""Times that weights are pruned, at most, while the sparsity grows."""


@dataclass(frozen=True)
class Wrapped:
    """A model as a technique trains it."""

    model: Any
    callbacks: tuple[Any, ...]
    finished: Callable[[Any], Any]
    """From the trained model to the one that goes on, without what only training needs."""
    settled: int = 1
    """The first epoch after which the weights are what the technique promises, so that it may be kept."""


def skipped(model: Any, training: Training) -> tuple[str, ...]:
    """The layers that `skip_layers` names; RecipeError where a name or glob matches none."""
    names = [layer.name for layer in model.layers if layer.__class__.__name__ != "InputLayer"]
    for pattern in training.skip_layers:
        if not any(fnmatchcase(name, pattern) for name in names):
            hint = did_you_mean(pattern, names)
            raise RecipeError(f"training.skip_layers: {pattern!r} matches no layer{hint}; there are {', '.join(names)}")
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in training.skip_layers))


def wrap(technique: Technique, model: Any, training: Training, steps: int) -> Wrapped:
    """The model made ready for a technique that runs for so many steps; SourceError with the layers it cannot do."""
    return {"prune": _prune, "cluster": _cluster, "quantize": _quantize}[technique](model, training, steps)


def _clone(model: Any, wrapped: Callable[[Any], Any], names: Sequence[str]) -> Any:
    """The model, with the layers of these names wrapped."""
    import tf_keras

    def clone(layer: Any) -> Any:
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer.__class__.from_config(layer.get_config())
        return wrapped(layer) if layer.name in names else layer

    return tf_keras.models.clone_model(model, clone_function=clone)


def _prune(model: Any, training: Training, steps: int) -> Wrapped:
    import tensorflow_model_optimization as tfmot

    sparsity = tfmot.sparsity.keras
    registry = _part("sparsity.keras.prune_registry", "PruneRegistry")
    names = _able(model, training, "prune", registry.supports)
    ramp = max(1, int(steps * RAMP))
    frequency = -(-ramp // PRUNINGS)
    pruning = training.pruning
    assert pruning is not None
    target = pruning.target_sparsity
    if pruning.schedule == "constant":
        schedule, ramp = sparsity.ConstantSparsity(target, 0, frequency=frequency), 0
    else:
        end = ramp // frequency * frequency
        schedule = sparsity.PolynomialDecay(0.0, target, 0, end, frequency=frequency)
    pruned = _clone(model, lambda layer: sparsity.prune_low_magnitude(layer, schedule), names)
    settled = max(1, -(-ramp * training.epochs // steps))

    def finished(trained: Any) -> Any:
        stripped = sparsity.strip_pruning(trained)
        _refuse_too_few_zeros([layer for layer in stripped.layers if layer.name in names], target)
        return stripped

    return Wrapped(pruned, (sparsity.UpdatePruningStep(),), finished, settled)


def _refuse_too_few_zeros(layers: Sequence[Any], target: float) -> None:
    kernels = {layer.name: layer.kernel.numpy() for layer in layers if hasattr(layer, "kernel")}
    for name, kernel in kernels.items():
        share = float((kernel == 0).mean())
        if share < target - 0.01 - 1 / kernel.size:
            raise ConversionError(
                f"layer {name!r} has {share:.0%} zeros after pruning, where {target:.0%} were asked for: there were too"
                " few steps; raise training.epochs or lower training.batch_size"
            )


def _cluster(model: Any, training: Training, _: int) -> Wrapped:
    import tensorflow_model_optimization as tfmot

    registry = _part("clustering.keras.clustering_registry", "ClusteringRegistry")
    names = _able(model, training, "cluster", registry.supports)
    wrapper = _part("clustering.keras.cluster_wrapper", "ClusterWeights")
    assert training.clustering is not None
    kept = {
        "number_of_clusters": training.clustering.clusters,
        "cluster_centroids_init": tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        "preserve_sparsity": "prune" in training.techniques,
    }
    clustered = _clone(model, lambda layer: wrapper(layer, **kept), names)
    return Wrapped(clustered, (), tfmot.clustering.keras.strip_clustering)


def _quantize(model: Any, training: Training, _: int) -> Wrapped:
    scheme = _scheme(training)
    registry = scheme.get_quantize_registry()
    names = _able(model, training, "quantize", lambda layer: registry.supports(layer) or _is_normalization(layer))
    refused: list[str] = []
    quantized, unsupported = _quantized(model, names, scheme)
    while unsupported is not None:
        refused.append(unsupported)
        quantized, unsupported = _quantized(model, [name for name in names if name not in refused], scheme)
    if refused:
        _refuse("quantize", [layer for layer in model.layers if layer.name in refused])
    return Wrapped(quantized, (), lambda trained: trained)


def _is_normalization(layer: Any) -> bool:
    """What can be quantized after a convolution alone, with which it becomes one op."""
    return layer.__class__.__name__ in ("BatchNormalization", "SyncBatchNormalization")


def _quantized(model: Any, names: Sequence[str], scheme: Any) -> tuple[Any, str | None]:
    """The model with these layers quantized, or the name of one that cannot be."""
    import tensorflow_model_optimization as tfmot

    quantization = tfmot.quantization.keras
    annotated = _clone(model, quantization.quantize_annotate_layer, names)
    try:
        with quantization.quantize_scope():
            return quantization.quantize_apply(annotated, scheme), None
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())
        found = re.match(r"Layer (\S+?):<class", said)
        if found and found[1] in names:
            return None, found[1]
        raise SourceError(
            f"TensorFlow Model Optimization cannot quantize this model: {said[:400]}; {LEAVE_OUT}"
        ) from error


def _scheme(training: Training) -> Any:
    is_pruned, is_clustered = ("prune" in training.techniques, "cluster" in training.techniques)
    module, name = SCHEMES[is_pruned and not is_clustered, is_clustered]
    kind = _part(f"quantization.keras.{module}", name)
    return kind(is_pruned) if is_clustered else kind()


def _part(module: str, name: str) -> Any:
    """Of tfmot, which does not name it in its public face."""
    return getattr(importlib.import_module(f"{PREFIX}.{module}"), name)


LEAVE_OUT = "name such layers in training.skip_layers to leave them out"


def _able(model: Any, training: Training, technique: Technique, supports: Callable[[Any], bool]) -> tuple[str, ...]:
    """The layers to wrap; SourceError with all that the technique cannot do and that are not to be skipped."""
    left = skipped(model, training)
    layers = [layer for layer in model.layers if layer.__class__.__name__ != "InputLayer" and layer.name not in left]
    unable = [layer for layer in layers if not supports(layer) and (technique == "quantize" or layer.weights)]
    if unable:
        _refuse(technique, unable)
    return tuple(layer.name for layer in layers if supports(layer))


def _refuse(technique: Technique, layers: Sequence[Any]) -> NoReturn:
    told = ", ".join(f"{layer.name!r} ({layer.__class__.__name__})" for layer in layers)
    raise SourceError(f"TensorFlow Model Optimization cannot {technique} {told}; {LEAVE_OUT}")
