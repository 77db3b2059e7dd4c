"""How the values of an activation are spread: counts in bins whose width grows with the value, as floats do.

A value's bin is its sign, its exponent and the first six bits of its mantissa, so that a bin is at most 1/64 of its
values wide, whatever the outliers are. Counts are whole numbers: their sums do not depend on the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.calibrate.following_activation import Function, identity
from tflq.calibrate.observe import exposed
from tflq.calibrate.samples import Samples
from tflq.interpreter import Runner
from tflq.worker import ProgressCallback

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

    @property
    def negative(self) -> Histogram:
        """Of the values below 0."""
        held = self.highs <= 0
        return Histogram(self.lows[held], self.highs[held], self.counts[held])


@dataclass(frozen=True)
class SquaredError:
    """Of all values as integers of so many bits, that of rounding and of clipping, as a function leaves it."""

    histogram: Histogram
    bits: int
    function: Function = identity

    def of(self, low: float, high: float) -> float:
        """Within that range, which 0 belongs to, since integers always have it."""
        return float(self._of(np.array([min(low, 0.0)]), np.array([max(high, 0.0)])).item())

    def least(self, minimum: float, maximum: float) -> tuple[float, float]:
        """The part of that range for which it is least.

        Of 16 bits the range is symmetric, as their quantizer makes it. Each end is chosen for the other in turn.
        """
        minimum, maximum = min(minimum, 0.0), max(maximum, 0.0)
        if self.bits == 16:
            widest = max(-minimum, maximum)
            best = widest * self._best([(-widest * part, widest * part) for part in CANDIDATES])
            return max(minimum, -best), min(maximum, best)
        low, high = minimum, maximum
        for _ in range(2):
            high = maximum * self._best([(low, maximum * part) for part in CANDIDATES]) if maximum else high
            low = minimum * self._best([(minimum * part, high) for part in CANDIDATES]) if minimum else low
        return low, high

    def _best(self, ranges: Sequence[tuple[float, float]]) -> float:
        lows, highs = np.array(ranges).T
        return float(CANDIDATES[int(np.argmin(self._of(lows, highs)))])

    def _of(self, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        """[ranges], as both ends are."""
        held, function = self.histogram, self.function
        centres, widths = (held.lows + held.highs) / 2, held.highs - held.lows
        steps = (highs - lows)[:, np.newaxis] / (2**self.bits - 1)
        clipped = np.clip(centres, lows[:, np.newaxis], highs[:, np.newaxis])
        rounded = np.rint(clipped / np.where(steps > 0, steps, 1)) * steps
        slopes = (function(held.highs) - function(held.lows)) / np.where(widths > 0, widths, 1)
        made = function(clipped)
        rounding = np.where(widths < steps, np.square(made - function(rounded)), np.square(slopes * steps) / 12)
        errors = np.where(clipped == centres, rounding, np.square(function(centres) - made))
        summed: np.ndarray = errors @ held.counts.astype(np.float64)
        return summed


@dataclass(frozen=True)
class Counts:
    """The values of an activation, counted: of all bins those that hold anything."""

    bins: np.ndarray
    """Their numbers, in increasing order."""
    counts: np.ndarray
    """int64"""


def count(report: ProgressCallback, float32: Path, samples: Samples, weights: Mapping[int, np.ndarray]) -> list[Counts]:
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
