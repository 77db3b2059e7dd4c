"""Fidelity of one output to another, without labels: SQNR, cosine and errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


def errors(reference: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Return the sums of one sample that its fidelity is computed from, float64 [6].

    For the float output f and the quantized output q: Σf², Σ(f − q)², Σfq, Σq², max|f − q| and the number of elements.
    """
    f, q = reference.astype(np.float64).reshape(-1), output.astype(np.float64).reshape(-1)
    d = f - q
    return np.array([f @ f, d @ d, f @ q, q @ q, np.abs(d).max(initial=0), f.size])


@dataclass(frozen=True)
class Fidelity:
    """The fidelity of an output to that of the float model on the same samples."""

    sqnr_db: float
    """10·log10(Σf² / Σ(f − q)²); inf if they are equal, -inf if f is all 0 or one of them is not finite."""
    cosine: float
    max_abs_error: float
    mse: float


def fidelity(rows: np.ndarray) -> Fidelity:
    """Return the fidelity over samples from rows of `errors`, [samples, 6]. Outputs without elements count as equal."""
    with np.errstate(invalid="ignore"):
        signal, noise, cross, power, _, size = rows.sum(0).tolist()
    mse = noise / size if size else 0.0
    return Fidelity(_decibels(signal, noise), _cosine(signal, power, cross), float(rows[:, 4].max()), mse)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    is_measurable = 0 < signal < math.inf and 0 < noise < math.inf
    return 10 * math.log10(signal / noise) if is_measurable else -math.inf


def _cosine(signal: float, power: float, cross: float) -> float:
    is_measurable = 0 < signal < math.inf and 0 < power < math.inf
    return cross / math.sqrt(signal) / math.sqrt(power) if is_measurable else float(signal == power)
