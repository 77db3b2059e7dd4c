"""Histograms of activations. The width of a bin grows with the value, as the spacing of floats does.

The bin of a value is its sign, its exponent and the first six bits of its mantissa. The width of a bin is thus at most
1/64 of its values, whatever the outliers are. Counts are whole numbers, so that their sums do not depend on the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.calibrate.following_activation import Function, identity
from tflq.calibrate.observe import with_activation_outputs
from tflq.calibrate.samples import Samples
from tflq.interpreter import Runner
from tflq.worker import ProgressCallback

MANTISSA_BITS = 6
_SHIFT = 23 - MANTISSA_BITS
_BINS = 1 << (32 - _SHIFT)
_SIGN = _BINS >> 1
_INFINITE = 0xFF << MANTISSA_BITS
CANDIDATES = 2.0 ** -np.arange(0, 14, 1 / 8)
"""The shares of a range that are compared as clipped ranges: 112 shares, from 1 down to about 1/15,000."""


@dataclass(frozen=True)
class Histogram:
    """The bins that are not empty, in increasing order of their values."""

    lows: np.ndarray
    """float64 [bins], in units of the activation"""
    highs: np.ndarray
    """float64 [bins], in units of the activation"""
    counts: np.ndarray
    """int64 [bins]"""

    def percentile(self, percent: float) -> tuple[float, float]:
        """Return the smallest range that leaves out at most 100 − `percent` % of the values at either end."""
        share = self.counts.cumsum() / self.counts.sum()
        first = int(np.searchsorted(share, 1 - percent / 100, side="right"))
        last = int(np.searchsorted(share, percent / 100 - 1e-12))
        return float(self.lows[min(first, len(share) - 1)]), float(self.highs[min(last, len(share) - 1)])

    @property
    def negative(self) -> Histogram:
        """The histogram of the values that are not above 0."""
        is_negative = self.highs <= 0
        return Histogram(self.lows[is_negative], self.highs[is_negative], self.counts[is_negative])


@dataclass(frozen=True)
class SquaredError:
    """The squared error that rounding and clipping to integers adds to all values, after a function is applied."""

    histogram: Histogram
    bits: int
    function: Function = identity

    def within(self, low: float, high: float) -> float:
        """Return the squared error for that range, which is widened to contain 0. Every integer range contains 0."""
        return float(self._errors(np.array([min(low, 0.0)]), np.array([max(high, 0.0)])).item())

    def least(self, minimum: float, maximum: float) -> tuple[float, float]:
        """Return the range within the given one that has the least squared error.

        With 16 bits the range is symmetric, as the quantizer makes it. With 8 bits the ends are chosen in turn.
        """
        minimum, maximum = min(minimum, 0.0), max(maximum, 0.0)
        if self.bits == 16:
            widest = max(-minimum, maximum)
            best = widest * self._best([(-widest * share, widest * share) for share in CANDIDATES])
            return max(minimum, -best), min(maximum, best)
        low, high = minimum, maximum
        for _ in range(2):
            high = maximum * self._best([(low, maximum * share) for share in CANDIDATES]) if maximum else high
            low = minimum * self._best([(minimum * share, high) for share in CANDIDATES]) if minimum else low
        return low, high

    def _best(self, ranges: Sequence[tuple[float, float]]) -> float:
        """Return the candidate share whose range has the least error. The ranges are in the order of `CANDIDATES`."""
        lows, highs = np.array(ranges).T
        return float(CANDIDATES[int(np.argmin(self._errors(lows, highs)))])

    def _errors(self, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        """Return the squared error of each range, float64 [ranges]."""
        values, function = self.histogram, self.function
        centres, widths = (values.lows + values.highs) / 2, values.highs - values.lows
        steps = (highs - lows)[:, np.newaxis] / (2**self.bits - 1)
        clipped = np.clip(centres, lows[:, np.newaxis], highs[:, np.newaxis])
        rounded = np.rint(clipped / np.where(steps > 0, steps, 1)) * steps
        slopes = (function(values.highs) - function(values.lows)) / np.where(widths > 0, widths, 1)
        output = function(clipped)
        rounding = np.where(widths < steps, np.square(output - function(rounded)), np.square(slopes * steps) / 12)
        errors = np.where(clipped == centres, rounding, np.square(function(centres) - output))
        summed: np.ndarray = errors @ values.counts.astype(np.float64)
        return summed


@dataclass(frozen=True)
class Counts:
    """The counts of the bins of an activation that are not empty."""

    bins: np.ndarray
    """int64 [bins]: the numbers of the bins, in increasing order"""
    counts: np.ndarray
    """int64 [bins]"""


def count(
    report: ProgressCallback,
    float32: Path,
    samples: Samples,
    weights: Mapping[int, np.ndarray],
    strides: np.ndarray | None = None,
) -> list[Counts]:
    """Count the values of every activation over the calls in `weights`. The result is in the order of `activations`.

    The weights of a call are int64 [activations]. `strides`, int64 [activations], is the distance from one counted
    value to the next; the weight of a value is multiplied by it. None: all values are counted.
    """
    run = Runner(with_activation_outputs(float32, samples.folder))
    totals = np.zeros((len(next(iter(weights.values()))), _BINS), np.int64)
    for done, (call, arrays) in enumerate(zip(weights, samples.calls(weights), strict=True), 1):
        answers = sorted(run(arrays).items(), key=lambda answer: int(answer[0]))
        steps = np.ones_like(weights[call]) if strides is None else strides
        for total, weight, step, (_, values) in zip(totals, weights[call], steps, answers, strict=True):
            counted = _bins(values)[call % step % values.size :: step]
            total += weight * step * np.bincount(counted, minlength=_BINS)
        report(done, len(weights))
    return [_nonempty(total) for total in totals]


def count_values(values: np.ndarray, weights: np.ndarray) -> Counts:
    """Count values with their weights. Both are one-dimensional; the values are float32, and the weights int64."""
    bins, places = np.unique(_bins(np.asarray(values, np.float32)), return_inverse=True)
    counts = np.zeros(len(bins), np.int64)
    np.add.at(counts, places, weights)
    return Counts(bins.astype(np.int64), counts)


def _nonempty(total: np.ndarray) -> Counts:
    bins = np.flatnonzero(total)
    return Counts(bins, total[bins])


def _bins(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1).view(np.uint32) >> np.uint32(_SHIFT)


def histogram(parts: Sequence[Counts]) -> Histogram:
    """Return the histogram of the sum of the parts. Infinities and NaN are left out."""
    total = np.zeros(_BINS, np.int64)
    for part in parts:
        total[part.bins] += part.counts
    bins = np.flatnonzero(total)
    bins = bins[bins % _SIGN < _INFINITE]
    magnitudes = (bins % _SIGN).astype(np.uint32)
    inner = (magnitudes << np.uint32(_SHIFT)).view(np.float32).astype(np.float64)
    largest = np.finfo(np.float32).max  # the last bin ends here, and infinity follows
    outer = np.minimum(((magnitudes + 1) << np.uint32(_SHIFT)).view(np.float32).astype(np.float64), largest)
    outer[magnitudes == 0] = 0.0  # this bin holds zero and the values that are too close to zero
    is_negative = bins >= _SIGN
    lows, highs = np.where(is_negative, -outer, inner), np.where(is_negative, -inner, outer)
    order = np.argsort(lows, kind="stable")
    return Histogram(lows[order], highs[order], total[bins][order])
