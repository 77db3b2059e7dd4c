"""The drop of a metric, and its confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tflq.metrics.metric import Metric, value_of

DIGITS = 12
"""Decimals of a drop. A rounding error beyond them must not fail a gate that is just met."""


DRAWS, FEW_DRAWS = 500, 100
"""The number of resamples, and that of large arrays. With 100, a standard error is within about 7 %."""
LARGE = 2_000_000
"""The largest number of statistics for which there are so many resamples."""
CHUNK = 1_000_000
"""The largest number of counts that are drawn at once."""


@dataclass(frozen=True)
class Drop:
    """The drop of a metric from the float32 baseline on the same samples. Negative means better."""

    value: float
    low: float
    high: float
    samples: int
    deviation: float
    """The standard deviation of the drop of one sample."""

    def samples_to_tell_from(self, limit: float) -> int | None:
        """Return the number of samples that separates the drop from the limit, or None if no number would.

        It is for 80 % power and a one-sided test at 5 %:

        n = (z₀.₉₅ + z₀.₈₀)² · variance / distance². For right-or-wrong outcomes, the variance is the share of samples
        on which the two models differ.
        """
        distance = abs(self.value - limit)
        is_measurable = 0 < distance < math.inf and math.isfinite(self.deviation)
        return math.ceil(6.2 * (self.deviation / distance) ** 2) if is_measurable else None


def uncertainty(samples_needed: int | None, limit: str = "the limit") -> str:
    """Return the sentence for a 95 % interval that includes the limit. `samples_needed`: enough to decide, or None."""
    needed = f"; about {samples_needed:,} samples would be needed" if samples_needed else ""
    return f"the 95 % interval includes {limit}, so this is not certain{needed}"


def paired_drop(metric: Metric, base: np.ndarray, other: np.ndarray) -> Drop:
    """Return the drop from `base` to `other`, both statistics [samples, k], with its 95 % interval.

    If the metric is a mean over samples, it is the normal interval of paired differences. Right-or-wrong outcomes get
    two more differences, one lost and one won (Bonett and Price 2012): without them, samples that all agree would give
    an interval of width 0. With b lost and c won of n, the variance of one difference is
    (b + c + 2)/(n + 2) − ((b − c)/(n + 2))². For other metrics, the interval is a paired bootstrap over samples.
    """
    sign = 1.0 if metric.higher_is_better else -1.0
    with np.errstate(invalid="ignore"):  # a file that outputs Inf has no interval
        drop = sign * round(float(value_of(metric, base) - value_of(metric, other)), DIGITS) + 0.0  # not -0
        deviation = _deviation(metric, base, other)
    reach = 1.96 * deviation / math.sqrt(len(base))
    return Drop(drop, drop - reach, drop + reach, len(base), deviation)


def _deviation(metric: Metric, base: np.ndarray, other: np.ndarray) -> float:
    if metric.is_mean and np.ptp(base[:, 1]) == 0:
        differences = base[:, 0] / base[:, 1] - other[:, 0] / other[:, 1]
        return float(np.std([*differences, 1, -1] if metric.is_right_or_wrong else differences))
    return _bootstrap_error(metric, base, other) * math.sqrt(len(base))


def _bootstrap_error(metric: Metric, base: np.ndarray, other: np.ndarray) -> float:
    """Return the standard error of the drop, by a paired bootstrap over samples.

    Draws for which the metric of the baseline is not defined are left out, unless it never is. An area under a curve,
    for example, is not defined if all drawn samples are of one class.
    """
    count, random = len(base), np.random.default_rng(0)
    draws = DRAWS if max(base.size, other.size) <= LARGE else FEW_DRAWS
    size = max(CHUNK // count, 1)
    differences = []
    for start in range(0, draws, size):
        shares = np.full(count, 1 / count)
        counts = random.multinomial(count, shares, min(size, draws - start)).astype(np.float64)
        before = metric.value(base, counts)
        is_used = np.isfinite(before) | (not math.isfinite(value_of(metric, base)))
        differences.append((before - metric.value(other, counts))[is_used])
    return float(np.std(np.concatenate(differences)))
