"""SQNR and agreement as estimates from samples, each with its 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflq.metrics.bootstrap import percentile_interval
from tflq.metrics.built_in import TopK
from tflq.metrics.drop import paired_drop

EQUAL_DB = 200.0
"""The SQNR in dB of equal outputs, and the largest one reported. Its negative is for outputs that share nothing."""


@dataclass(frozen=True)
class Estimate:
    """A value estimated from samples, and its 95 % interval."""

    value: float
    low: float
    high: float


def estimate_sqnr_db(rows: np.ndarray) -> Estimate:
    """Return 10·log10(Σsignal / Σnoise) over samples, with its bootstrap interval. `rows`: [samples, 8].

    A few samples often make most of the noise, so the interval is not symmetric. One sample shows no spread at all.
    """
    sums = rows[:, :2]
    if not np.isfinite(sums.sum()):
        return Estimate(-EQUAL_DB, -EQUAL_DB, -EQUAL_DB)
    (value,) = _decibels(sums.sum(0, keepdims=True)).tolist()
    low, high = percentile_interval(sums, _decibels) if len(sums) > 1 else (value, value)
    return Estimate(value, min(low, value), max(high, value))


def _decibels(sums: np.ndarray) -> np.ndarray:
    """Return the SQNR of each row of sums. `sums`: [rows, 2], signal and noise."""
    signal, noise = sums[:, 0], sums[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = 10 * np.log10(signal / noise)
    return np.where(noise == 0, EQUAL_DB, np.clip(values, -EQUAL_DB, EQUAL_DB))


def estimate_agreement(odds: np.ndarray) -> Estimate:
    """Return the agreement as a right-or-wrong metric that the float32 file has all right.

    `odds` are the probabilities that the top class is that of the float32 file, [samples].
    """
    ones = np.ones(len(odds))
    drop = paired_drop(TopK(1), np.stack([ones, ones], 1), np.stack([odds, ones], 1))
    return Estimate(1 - drop.value, 1 - drop.high, min(1 - drop.low, 1.0))
