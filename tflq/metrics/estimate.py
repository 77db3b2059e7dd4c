"""SQNR and agreement as estimates from samples, each with its 95 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

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
    """Return 10·log10(Σsignal / Σnoise) over samples, with an interval by the delta method.

    `rows` are those of `errors`, [samples, 6].
    """
    signal, noise = rows[:, 0], rows[:, 1]
    signal_sum, noise_sum = float(signal.sum()), float(noise.sum())
    if not 0 < signal_sum < math.inf or not 0 < noise_sum < math.inf:
        value = EQUAL_DB if noise_sum == 0 else -EQUAL_DB
        return Estimate(value, value, value)
    ratio = noise_sum / signal_sum
    deviation = float(np.std(noise - ratio * signal)) / float(signal.mean()) / math.sqrt(len(rows))
    value, reach = -10 * math.log10(ratio), 1.96 * 10 / math.log(10) * deviation / ratio
    return Estimate(*(min(max(db, -EQUAL_DB), EQUAL_DB) for db in (value, value - reach, value + reach)))


def estimate_agreement(odds: np.ndarray) -> Estimate:
    """Return the agreement as a right-or-wrong metric that the float32 file has all right.

    `odds` are the probabilities that the top class is that of the float32 file, [samples].
    """
    ones = np.ones(len(odds))
    drop = paired_drop(TopK(1), np.stack([ones, ones], 1), np.stack([odds, ones], 1))
    return Estimate(1 - drop.value, 1 - drop.high, min(1 - drop.low, 1.0))
