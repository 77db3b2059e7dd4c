"""The bootstrap over samples: intervals that need no normal distribution, also of few samples or rare large errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

DRAWS = 1000
"""The number of resamples."""
CHUNK = 1_000_000
"""The largest number of sample numbers that are drawn at once."""


def percentile_interval(rows: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """Return the 95 % interval of a statistic of sums over samples. The same rows give the same interval.

    It is the expanded percentile interval of Hesterberg 2015 ("What teachers should know about the bootstrap", The
    American Statistician 69:371). It need not be symmetric: if one sample makes most of the error, a resample may lack
    that sample, or have it several times. `rows`: [samples, k], two or more. `statistic`: sums [draws, k] → [draws].
    """
    count, random = len(rows), np.random.default_rng(0)
    size = max(CHUNK // count, 1)
    values = []
    for start in range(0, DRAWS, size):
        places = random.integers(0, count, (min(size, DRAWS - start), count), np.int32)
        values.append(statistic(np.stack([column[places].sum(1) for column in np.ascontiguousarray(rows.T)], 1)))
    tail = NormalDist().cdf(-math.sqrt(count / (count - 1)) * student_t(count - 1))
    low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
    return float(low), float(high)


def student_t(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t distribution by Abramowitz and Stegun 26.7.5, for 3 degrees or more.

    For fewer degrees the series does not converge, and the exact quantiles are returned.
    """
    if freedom < 3:
        return (12.706, 4.303)[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / math.pow(freedom, power) for power, term in enumerate(terms, start=1))
