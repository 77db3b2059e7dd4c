"""Pruning with TensorFlow Model Optimization: of single weights, of blocks, or of m in n weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tflq.errors import ConversionError, SourceError
from tflq.training.schema import Pruning
from tflq.training.tfmot_internals import internal

RAMP = 0.5
"""The share of the steps in which the sparsity grows. In the others, the remaining weights adapt."""
MAX_PRUNING_STEPS = 100
"""The largest number of steps that prune weights while the sparsity grows."""
SINGLE = (1, 1)
"""The size of a block of one weight."""


def supports(layer: Any) -> bool:
    """Return whether TensorFlow Model Optimization prunes layers of this kind."""
    return bool(internal("sparsity.keras.prune_registry", "PruneRegistry").supports(layer))


def fits(layer: Any, pruning: Pruning) -> bool:
    """Return whether the weights of a layer that can be pruned have the structure that the recipe demands."""
    if pruning.m_by_n is None and pruning.block_size == SINGLE:
        return True
    shapes = [tuple(weight.shape) for weight in _prunable_weights(layer)]
    if pruning.m_by_n is not None:
        return all(len(shape) in (2, 4) for shape in shapes)
    blocks = [zip(shape, pruning.block_size, strict=False) for shape in shapes]
    return all(len(shape) == 2 for shape in shapes) and all(size % by == 0 for each in blocks for size, by in each)


def structure_in_words(pruning: Pruning | None) -> str:
    """Return what weights must have for the structure that the recipe demands; empty for single weights."""
    if pruning is not None and pruning.m_by_n is not None:
        zeros, size = pruning.m_by_n
        return f" with {zeros} zeros in {size} weights, which needs kernels of two or four dimensions,"
    if pruning is not None and pruning.block_size != SINGLE:
        height, width = pruning.block_size
        return f" in blocks of {height} by {width}, which needs kernels of two dimensions that these divide,"
    return ""


def is_chosen(layer: Any, pruning: Pruning) -> bool:
    """Return whether the recipe's policy prunes the layer. XNNPACK has sparse kernels for 1×1 convolutions alone."""
    return pruning.policy == "all" or bool(_xnnpack_policy().allow_pruning(layer))


def refuse_policy(model: Any, pruning: Pruning) -> None:
    """Raise SourceError, with the reason, if the model does not suit the policy of the recipe."""
    if pruning.policy == "all":
        return
    try:
        _xnnpack_policy().ensure_model_supports_pruning(model)
    except ValueError as error:
        raise SourceError(
            f"training.pruning.policy: XNNPACK's sparse kernels do not run this model: {error}. Remove policy to prune"
            " every layer, which makes the file smaller but not faster"
        ) from error


def _xnnpack_policy() -> Any:
    return internal("sparsity.keras.pruning_policy", "PruneForLatencyOnXNNPack")()


def _prunable_weights(layer: Any) -> list[Any]:
    if not hasattr(layer, "get_prunable_weights"):
        layer = internal("sparsity.keras.prune_registry", "PruneRegistry").make_prunable(layer)
    return list(layer.get_prunable_weights())


def wrapper_of(pruning: Pruning, steps: int) -> tuple[Callable[[Any], Any], int]:
    """Return the function that wraps a layer, and the first of `steps` steps after which the target is reached."""
    import tensorflow_model_optimization as tfmot

    sparsity = tfmot.sparsity.keras
    ramp = max(1, int(steps * RAMP))
    frequency = -(-ramp // MAX_PRUNING_STEPS)
    if pruning.m_by_n is not None or pruning.schedule == "constant":
        schedule, ramp = sparsity.ConstantSparsity(pruning.share, 0, frequency=frequency), 0
    else:
        end = ramp // frequency * frequency
        schedule = sparsity.PolynomialDecay(0.0, pruning.share, 0, end, frequency=frequency)
    options = {
        "block_size": pruning.block_size,
        "block_pooling_type": {"average": "AVG", "max": "MAX"}[pruning.block_pooling],
        "sparsity_m_by_n": pruning.m_by_n,
    }
    return lambda layer: sparsity.prune_low_magnitude(layer, schedule, **options), ramp


def refuse_too_few_zeros(layers: Sequence[Any], pruning: Pruning) -> None:
    """Raise ConversionError if a pruned layer has not the zeros that the recipe demands."""
    kernels = {layer.name: layer.kernel.numpy() for layer in layers if hasattr(layer, "kernel")}
    for name, kernel in kernels.items():
        share, area = _share_of_zeros(kernel, pruning), int(np.prod(pruning.block_size))
        if share < pruning.share - 0.01 - area / kernel.size:
            raise ConversionError(
                f"layer {name!r} has {share:.0%} zeros after pruning, but the target is {pruning.share:.0%}: there were"
                " too few steps; raise training.epochs or lower training.batch_size"
            )


def _share_of_zeros(kernel: np.ndarray, pruning: Pruning) -> float:
    """Return the share of zeros. With m in n weights, a group counts for no more zeros than it needs."""
    if pruning.m_by_n is None:
        return float((kernel == 0).mean())
    needed, size = pruning.m_by_n
    inputs = kernel.shape[-2] // size * size  # a group at the end may be shorter
    groups = np.moveaxis(kernel, -2, -1)[..., :inputs].reshape(-1, size)
    return float(np.minimum((groups == 0).sum(1), needed).mean()) / size if len(groups) else pruning.share
