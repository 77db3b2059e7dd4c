"""How the values of an activation are spread: counts in bins whose width grows with the value, as floats do.

A value's bin is its sign, its exponent and the first six bits of its mantissa, so that a bin is at most 1/64 of its
values wide, whatever the outliers are. Counts are whole numbers: their sums do not depend on the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.calibrate.observe import exposed
from tflq.calibrate.samples import Samples
from tflq.interpreter import Runner
from tflq.worker import Report

MANTISSA_BITS = 6
_SHIFT = 23 - MANTISSA_BITS
_BINS = 1 << (32 - _SHIFT)
_SIGN = _BINS >> 1
_INFINITE = 0xFF << MANTISSA_BITS
CANDIDATES = 2.0 ** -np.arange(0, 14, 1 / 8)
"""The parts of a range that are tried as clips: 112, from all of it down to 1/15,000."""


@dataclass(frozen=True)
class Histogram:
    """Bins that hold anything, in increasing order of their values."""

    lows: np.ndarray
    """float64 [bins]"""
    highs: np.ndarray
    counts: np.ndarray
    """int64 [bins]"""

    def percentile(self, percent: float) -> tuple[float, float]:
        """The least range that leaves out no more than 100 − `percent` of the values at either end."""
        share = self.counts.cumsum() / self.counts.sum()
        first = int(np.searchsorted(share, 1 - percent / 100, side="right"))
        last = int(np.searchsorted(share, percent / 100 - 1e-12))
        return float(self.lows[min(first, len(share) - 1)]), float(self.highs[min(last, len(share) - 1)])

    def least_error(self, minimum: float, maximum: float, bits: int) -> tuple[float, float]:
        """The part of that range whose integers of so many bits have the least mean squared error.

        Of 16 bits the range is symmetric, as their quantizer makes it. Each end is chosen for the other in turn.
        """
        minimum, maximum = min(minimum, 0.0), max(maximum, 0.0)
        if bits == 16:
            widest = max(-minimum, maximum)
            best = widest * self._best([(-widest * part, widest * part) for part in CANDIDATES], bits)
            return max(minimum, -best), min(maximum, best)
        low, high = minimum, maximum
        for _ in range(2):
            high = maximum * self._best([(low, maximum * part) for part in CANDIDATES], bits) if maximum else high
            low = minimum * self._best([(minimum * part, high) for part in CANDIDATES], bits) if minimum else low
        return low, high

    def _best(self, ranges: Sequence[tuple[float, float]], bits: int) -> float:
        lows, highs = np.array(ranges).T[:, :, np.newaxis]
        return float(CANDIDATES[int(np.argmin(self._squared_errors(lows, highs, bits)))])

    def _squared_errors(self, lows: np.ndarray, highs: np.ndarray, bits: int) -> np.ndarray:
        """Of all values, [ranges]: those of rounding, and of clipping what lies outside; both ends are [ranges, 1]."""
        centres = (self.lows + self.highs) / 2
        steps = (highs - lows) / (2**bits - 1)
        clipped = np.clip(centres, lows, highs)
        rounded = np.rint(clipped / np.where(steps > 0, steps, 1)) * steps
        rounding = np.where(self.highs - self.lows < steps, np.square(clipped - rounded), np.square(steps) / 12)
        errors = np.where(clipped == centres, rounding, np.square(centres - clipped))
        summed: np.ndarray = errors @ self.counts.astype(np.float64)
        return summed


@dataclass(frozen=True)
class Counts:
    """The values of an activation, counted: of all bins those that hold anything."""

    bins: np.ndarray
    """Their numbers, in increasing order."""
    counts: np.ndarray
    """int64"""


def count(report: Report, float32: Path, samples: Samples, weights: Mapping[int, np.ndarray]) -> list[Counts]:
    """The values of every activation over the calls that have weights, in the order of `activations`.

    The weights of a call are whole numbers, one for each activation; of 0, it is not counted.
    """
    run = Runner(exposed(float32, samples.folder / f"exposed-{min(weights)}.tflite"))
    totals = np.zeros((len(next(iter(weights.values()))), _BINS), np.int64)
    for done, (call, arrays) in enumerate(zip(weights, samples.calls(weights), strict=True), 1):
        answers = sorted(run(arrays).items(), key=lambda answer: int(answer[0]))
        for total, weight, (_, values) in zip(totals, weights[call], answers, strict=True):
            if weight:
                total += weight * np.bincount(_bins(values), minlength=_BINS)
        report(done, len(weights))
    return [counted(total) for total in totals]


def counted(total: np.ndarray) -> Counts:
    bins = np.flatnonzero(total)
    return Counts(bins, total[bins])


def _bins(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1).view(np.uint32) >> np.uint32(_SHIFT)


def histogram(parts: Sequence[Counts]) -> Histogram:
    """The sum of the parts; infinities and NaN are left out."""
    total = np.zeros(_BINS, np.int64)
    for part in parts:
        total[part.bins] += part.counts
    held = np.flatnonzero(total)
    held = held[held % _SIGN < _INFINITE]
    magnitudes = (held % _SIGN).astype(np.uint32)
    inner = (magnitudes << np.uint32(_SHIFT)).view(np.float32).astype(np.float64)
    largest = np.finfo(np.float32).max  # what the last bin ends with, beside infinity
    outer = np.minimum(((magnitudes + 1) << np.uint32(_SHIFT)).view(np.float32).astype(np.float64), largest)
    outer[magnitudes == 0] = 0.0  # zero, and what is too small to tell from it
    is_negative = held >= _SIGN
    lows, highs = np.where(is_negative, -outer, inner), np.where(is_negative, -inner, outer)
    order = np.argsort(lows, kind="stable")
    return Histogram(lows[order], highs[order], total[held][order])
