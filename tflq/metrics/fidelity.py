"""Fidelity of one output to another, without labels: SQNR, cosine similarity, errors and PSNR."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MIN_SIDE = 8
"""The least height and width of an image, in pixels."""
NO_IMAGE = (0.0, -1.0)
"""The ends of a range that no output has."""
VALUES_AT_ONCE = 1 << 15
"""The values that are compared at once. More of them would leave the cache of the processor."""
LOWEST_DB = -200.0
"""The PSNR of an image whose error is not finite."""


def errors(reference: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Return the numbers of one sample that its fidelity is computed from, float64 [8].

    For the float output f and the quantized output q: Σf², Σ(f − q)², Σfq, Σq², max|f − q|, the number of elements, and
    min f and max f. The last two are those of NO_IMAGE if the output is not an image.
    """
    ends = (reference.min(), reference.max()) if _is_image(reference.shape) else NO_IMAGE
    sums, largest = np.zeros(4), np.float64(0)
    pairs = reference.reshape(-1), output.reshape(-1)
    for start in range(0, reference.size, VALUES_AT_ONCE):
        f, q = (values[start : start + VALUES_AT_ONCE].astype(np.float64) for values in pairs)
        d = f - q
        sums += (f @ f, d @ d, f @ q, q @ q)
        largest = np.maximum(largest, np.abs(d, out=d).max())
    return np.array([*sums, largest, reference.size, *ends])


def _is_image(shape: tuple[int, ...]) -> bool:
    """Return whether this is the shape of images: a batch, height and width, and 1, 3 or 4 channels first or last."""
    if len(shape) != 4 or not shape[0]:
        return False
    _, first, middle, last = shape
    has_channels_last = last in (1, 3, 4) and min(first, middle) >= MIN_SIDE
    return has_channels_last or (first in (1, 3, 4) and min(middle, last) >= MIN_SIDE)


@dataclass(frozen=True)
class Fidelity:
    """The fidelity of an output to that of the float model on the same samples."""

    sqnr_db: float
    """10·log10(Σf² / Σ(f − q)²); inf if they are equal, -inf if f is all 0 or one of them is not finite."""
    cosine: float
    """The mean over samples of Σfq / √(Σf² Σq²). Of a sample, it is 1 if both are 0, and 0 if one of them is."""
    max_abs_error: float
    """max|f − q| over all samples."""
    mse: float
    psnr_db: float | None = None
    """10·log10(peak² / mse); None if the output is not an image, or if there is no difference, or no peak."""
    peak: float | None = None
    """max f − min f over all samples; None if the output is not an image."""


def fidelity(rows: np.ndarray) -> Fidelity:
    """Return the fidelity over samples from rows of `errors`, [samples, 8]. Outputs without elements count as equal."""
    with np.errstate(invalid="ignore"):
        signal, noise, _, _, _, size, _, _ = rows.sum(0).tolist()
    mse = noise / size if size else 0.0
    peak = float(rows[:, 7].max() - rows[:, 6].min())
    return Fidelity(
        sqnr_db=_decibels(signal, noise),
        cosine=float(_cosines(rows).mean()),
        max_abs_error=float(rows[:, 4].max()),
        mse=mse,
        psnr_db=_psnr_db(peak, mse),
        peak=None if peak < 0 else peak,
    )


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    is_measurable = 0 < signal < math.inf and 0 < noise < math.inf
    return 10 * math.log10(signal / noise) if is_measurable else -math.inf


def _cosines(rows: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of each sample; 0 if one of both is 0 or not finite."""
    signal, cross, power = rows[:, 0], rows[:, 2], rows[:, 3]
    with np.errstate(all="ignore"):
        found = cross / np.sqrt(signal) / np.sqrt(power)
        is_measurable = (signal > 0) & (power > 0) & np.isfinite(signal) & np.isfinite(power)
    cosines: np.ndarray = np.where(is_measurable, found, signal == power)
    return cosines


def _psnr_db(peak: float, mse: float) -> float | None:
    if not 0 < peak < math.inf or mse == 0:
        return None
    return 10 * math.log10(peak**2 / mse) if mse < math.inf else LOWEST_DB
