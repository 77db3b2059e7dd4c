"""Integers for weights: the nearest ones, or those that keep the layer's output nearest."""

from __future__ import annotations

import numpy as np

QMAX = 127
"""The integer that the largest weight of a channel becomes, or of the whole tensor where it has one scale."""
DAMPING = 0.01
"""Added to variances as a part of their mean, as in the source of `fitted`."""
BLOCK = 64


def scales(matrices: np.ndarray, is_per_channel: bool) -> np.ndarray:
    """The scale of each output's weights as the converter has it, [groups, outputs], at least the smallest normal."""
    largest = np.abs(matrices).max(2) if is_per_channel else np.full(matrices.shape[:2], np.abs(matrices).max())
    smallest = float(np.finfo(np.float32).tiny)
    scale: np.ndarray = np.maximum(largest.astype(np.float64) / QMAX, smallest)
    return scale


def round_to_nearest(matrices: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """What the weights are after rounding, as the converter does it."""
    steps = scale[:, :, np.newaxis]
    rounded: np.ndarray = np.clip(np.rint(matrices / steps), -QMAX, QMAX) * steps
    return rounded


def gptq_round(matrices: np.ndarray, scale: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Weights that are multiples of their scale, chosen so that the variance of the output's error is small.

    Column after column is rounded, and what that does to the output is made up for in the columns that are left
    (GPTQ: Frantar et al. 2023, arXiv:2210.17323, algorithm 1 with columns in the order of their variance). The largest
    weights keep their place, so that the converter finds the same scale, and what is 0 stays so, since pruning may have
    made it. Shapes: [groups, outputs, inputs], [groups,
    outputs], [groups, inputs, inputs].
    """
    order = np.argsort(-np.einsum("gii->gi", covariance), axis=1, kind="stable")
    left = np.take_along_axis(matrices.astype(np.float64), order[:, np.newaxis, :], 2)
    is_largest = np.abs(left) >= scale[:, :, np.newaxis] * QMAX * (1 - 1e-6)
    is_pinned, pinned = is_largest | (left == 0), np.where(is_largest, np.copysign(QMAX, left), 0)
    factor, made = _inverse_cholesky(covariance, order), np.zeros_like(left)
    for start in range(0, left.shape[2], BLOCK):
        block = slice(start, min(start + BLOCK, left.shape[2]))
        errors = np.zeros_like(left[:, :, block])
        for column in range(block.start, block.stop):
            wanted, rest = left[:, :, column], slice(column + 1, block.stop)
            free = np.clip(np.rint(wanted / scale), -QMAX, QMAX)
            made[:, :, column] = np.where(is_pinned[:, :, column], pinned[:, :, column], free) * scale
            error = (wanted - made[:, :, column]) / factor[:, column, column, np.newaxis]
            errors[:, :, column - start] = error
            left[:, :, rest] -= error[:, :, np.newaxis] * factor[:, np.newaxis, column, rest]
        left[:, :, block.stop :] -= errors @ factor[:, block, block.stop :]
    return np.take_along_axis(made, np.argsort(order, axis=1)[:, np.newaxis, :], 2)


def _inverse_cholesky(covariance: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The upper Cholesky factor of the inverse of the damped covariance, its rows and columns in that order."""
    sorted_ = np.take_along_axis(covariance, order[:, :, np.newaxis], 1)
    sorted_ = np.take_along_axis(sorted_, order[:, np.newaxis, :], 2)
    mean = np.einsum("gii->gi", sorted_).mean(1)[:, np.newaxis, np.newaxis]
    scaled = sorted_ / np.where(mean > 0, mean, 1) + DAMPING * np.eye(sorted_.shape[1])
    return np.linalg.cholesky(np.linalg.inv(scaled)).transpose(0, 2, 1)
