"""GPTQ: rounding of weights that keeps the error of a layer's output small (Frantar et al. 2023, arXiv:2210.17323).

The steps of the paper's algorithm 1:

1. Take the Hessian H = 2XXᵀ of the layer's squared error; X are its inputs on the calibration samples.
2. Dampen H by a part of its mean diagonal, and factor it.
3. Quantize one column of the weights.
4. Update the remaining columns of the block of columns, so that they compensate for its error.
5. After each block, update all columns behind it at once (lazy batch updates).

The paper factors the inverse of H. Here a factor of H itself gives the same integers, as in Babai's nearest plane
algorithm (Chen et al. 2025, arXiv:2507.18553).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

QMAX = 127
"""The integer of the largest weight of a channel, or of the whole tensor if the tensor has one scale."""
DAMPING = 0.01
"""The part of the mean variance that is added to each variance, as in the paper."""
BLOCK = 64
"""The number of columns in a block."""
VALUES_AT_ONCE = 1 << 17
"""The number of weights that are rounded at once, so that they stay in the cache of the processor."""
SCALE_FACTORS = tuple(1 + step / 160 for step in range(17))
"""The factors of a channel's scale that are tried, from 1 to 1.1."""
ROUNDED_AT_ONCE = 1 << 21
"""The number of weights that GPTQ rounds at once, with all factors of their scale."""


@dataclass(frozen=True)
class RoundedWeights:
    """Weights as integers and their scales."""

    integers: np.ndarray = field(repr=False)
    """int8 [groups, outputs, inputs]"""
    scales: np.ndarray = field(repr=False)
    """float64 [groups, outputs]"""

    @property
    def matrices(self) -> np.ndarray:
        """The weights as multiples of their scale, float64 [groups, outputs, inputs]"""
        multiples: np.ndarray = self.integers * self.scales[:, :, np.newaxis]
        return multiples


def scales(matrices: np.ndarray, is_per_channel: bool) -> np.ndarray:
    """Return the scale of each output's weights, as the converter computes it.

    `matrices` has shape [groups, outputs, inputs]. The result is float64 [groups, outputs], above 0.
    """
    largest = np.abs(matrices).max(2) if is_per_channel else np.full(matrices.shape[:2], np.abs(matrices).max())
    smallest = float(np.finfo(np.float32).tiny)
    scale: np.ndarray = np.maximum(largest.astype(np.float64) / QMAX, smallest)
    return scale


def nearest_steps(matrices: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the integers of the weights rounded to the nearest multiples of their scale, as the converter does it.

    Shapes: matrices and result (int8) [groups, outputs, inputs], scale (float64) [groups, outputs].
    """
    steps, (groups, outputs, inputs) = np.empty(matrices.shape, np.int8), matrices.shape
    at_once = max(1, VALUES_AT_ONCE // max(1, groups * inputs))
    for start in range(0, outputs, at_once):
        part = slice(start, start + at_once)
        quotients = np.rint(matrices[:, part] / scale[:, part, np.newaxis])
        steps[:, part] = np.clip(quotients, -QMAX, QMAX, out=quotients)
    return steps


def round_to_nearest(matrices: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the weights rounded to the nearest multiples of their scale, float64 in the shape of the weights."""
    return RoundedWeights(nearest_steps(matrices, scale), scale).matrices


def gptq_round(
    matrices: np.ndarray, scale: np.ndarray, covariance: np.ndarray, factors: Sequence[float] = (1.0,)
) -> RoundedWeights:
    """Return rounded weights that keep the variance of the output's error small.

    There are four additions to the paper. Each output's scale is multiplied by one of `factors`, the one with the least
    error. With one factor, the largest weights keep their value, so that the converter computes the same scale.
    Columns are taken in descending order of their variance. Zeros stay zeros, for pruned models.
    Shapes: matrices [groups, outputs, inputs], scale [groups, outputs], covariance [groups, inputs, inputs].
    """
    groups, outputs, inputs = matrices.shape
    order = np.argsort(-np.einsum("gii->gi", covariance), axis=1, kind="stable")
    triangle = _upper_triangle(covariance, order)
    rounded = RoundedWeights(np.empty(matrices.shape, np.int8), np.empty(scale.shape))
    at_once = max(1, ROUNDED_AT_ONCE // max(1, groups * inputs * len(factors)))
    for start in range(0, outputs, at_once):
        part = slice(start, start + at_once)
        steps = np.take_along_axis(matrices[:, part] / scale[:, part, np.newaxis], order[:, np.newaxis, :], 2)
        integers, best = _round_with_best_scale(steps, triangle, np.asarray(factors))
        rounded.integers[:, part] = np.take_along_axis(integers, np.argsort(order, axis=1)[:, np.newaxis, :], 2)
        rounded.scales[:, part] = scale[:, part] * best
    return rounded


def _round_with_best_scale(
    steps: np.ndarray, triangle: np.ndarray, factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the integers of the weights, and the factor of each output's scale that has the least loss.

    All factors are tried at once, as if each were an output of its own. Shapes: steps, which are the weights in units
    of their scale, and integers [groups, outputs, inputs]; triangle, see `_upper_triangle`, [groups, inputs, inputs];
    factors [factors]; the result's factors [groups, outputs].
    """
    groups, outputs, inputs = steps.shape
    is_largest = (np.abs(steps) >= QMAX * (1 - 1e-6)) & (len(factors) == 1)
    pins = is_largest | (steps == 0), np.where(is_largest, np.copysign(QMAX, steps), 0).astype(np.float32)
    tried = groups, len(factors) * outputs, inputs
    left = (steps[:, np.newaxis] / factors[:, np.newaxis, np.newaxis]).astype(np.float32).reshape(tried)
    is_pinned, pinned = (np.tile(each, (1, len(factors), 1)) for each in pins)
    one = np.broadcast_to(np.float32(1), tried)
    rounded, losses = _round_columns(left, (is_pinned, pinned), triangle, (one, -QMAX, QMAX))
    losses = losses.reshape(groups, len(factors), outputs) * np.square(factors)[:, np.newaxis]
    best = losses.argmin(1)
    integers = np.take_along_axis(
        rounded.reshape(groups, len(factors), outputs, inputs), best[:, np.newaxis, :, np.newaxis], 1
    )
    return integers[:, 0], factors[best]


def gptq_round_blocks(
    matrices: np.ndarray, scales: np.ndarray, covariance: np.ndarray, limits: tuple[int, int]
) -> np.ndarray:
    """Return the integers of weights that have a scale each, from the lowest to the highest integer in `limits`.

    The scales are those of blocks of inputs, fixed before. Zeros stay zeros. Shapes: matrices, scales and result
    [groups, outputs, inputs], covariance [groups, inputs, inputs].
    """
    order = np.argsort(-np.einsum("gii->gi", covariance), axis=1, kind="stable")
    left, steps = (
        np.take_along_axis(each, order[:, np.newaxis, :], 2).astype(np.float32) for each in (matrices, scales)
    )
    pins = left == 0, np.zeros_like(left)
    rounded, _ = _round_columns(left, pins, _upper_triangle(covariance, order), (steps, *limits))
    integers: np.ndarray = np.take_along_axis(rounded, np.argsort(order, axis=1)[:, np.newaxis, :], 2)
    return integers


def _round_columns(
    weights: np.ndarray, pins: tuple[np.ndarray, np.ndarray], triangle: np.ndarray, grid: tuple[np.ndarray, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the integers of the weights, and the loss of each output: steps 3 to 5.

    `pins` holds which weights are pinned, and their integers. `triangle` is R of `_upper_triangle`. `grid` holds the
    distance of neighbouring integers for each weight, and the lowest and the highest integer. Shapes: triangle [groups,
    inputs, inputs], all others and the integers [groups, outputs, inputs]. The loss is ΔᵀHΔ of the change Δ
    of an output's weights, [groups, outputs]. It is the sum of the squares of RᵀΔ, whose element k depends on the
    changes up to column k alone. So the best value of column k, which makes it 0, follows from those before it.
    """
    (is_pinned, pinned), (distance, lowest, highest) = pins, grid
    best, rounded, losses = weights.copy(), np.zeros_like(weights), np.zeros(weights.shape[:2])
    diagonal = np.einsum("gii->gi", triangle)
    scaled = triangle / diagonal[:, np.newaxis, :]
    for start in range(0, weights.shape[2], BLOCK):
        block = slice(start, min(start + BLOCK, weights.shape[2]))
        columns = [_columns(each[:, :, block]) for each in (best, weights, is_pinned, pinned, distance)]
        wanted, before, keeps, kept, steps = columns
        inner = _columns(scaled[:, block, block])  # [columns after, groups, columns before]
        integers = np.empty_like(wanted)
        for column in range(len(wanted)):
            nearest = np.clip(np.rint(wanted[column] / steps[column]), lowest, highest)
            integers[column] = np.where(keeps[column], kept[column], nearest)
            change = integers[column] * steps[column] - before[column]
            wanted[column + 1 :] -= change * inner[column + 1 :, :, column, np.newaxis]
        values = integers * steps
        losses += np.square((values - wanted) * _columns(diagonal[:, np.newaxis, block])).sum(0)
        rounded[:, :, block] = np.moveaxis(integers, 0, 2)
        best[:, :, block.stop :] -= np.moveaxis(values - before, 0, 2) @ scaled[:, block, block.stop :]
    return rounded, losses


def _columns(matrices: np.ndarray) -> np.ndarray:
    """Return the columns of matrices, [columns, groups, rows], side by side in memory."""
    return np.ascontiguousarray(np.moveaxis(matrices, 2, 0))


def _upper_triangle(covariance: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the upper triangle R with H = R Rᵀ, for the damped covariance H with its inputs in the given order.

    Shapes: covariance and R [groups, inputs, inputs], order [groups, inputs].
    R⁻¹ is the factor of the paper's step 2. Let J reverse the order of rows, and let J H J = L Lᵀ; then R = J L J.
    """
    reverse = order[:, ::-1]
    groups = np.arange(len(order))[:, np.newaxis, np.newaxis]
    damped = covariance[groups, reverse[:, :, np.newaxis], reverse[:, np.newaxis, :]]
    mean = np.einsum("gii->gi", damped).mean(1)[:, np.newaxis, np.newaxis]
    damped /= np.where(mean > 0, mean, 1)
    np.einsum("gii->gi", damped)[:] += DAMPING
    return _cholesky(damped.astype(np.float32, copy=False))[:, ::-1, ::-1]


def _cholesky(matrices: np.ndarray) -> np.ndarray:
    """Return the lower triangle L with H = L Lᵀ of each matrix H, [groups, inputs, inputs]; H may be overwritten.

    SciPy does not copy a large matrix, and NumPy has no loop in Python over many small ones.
    """
    if len(matrices) > 1:
        return np.linalg.cholesky(matrices)
    from scipy.linalg import cholesky  # TensorFlow imports it, too, and the command line does not need it

    factor: np.ndarray = cholesky(matrices[0].T, lower=True, overwrite_a=True, check_finite=False)
    return factor[np.newaxis]
