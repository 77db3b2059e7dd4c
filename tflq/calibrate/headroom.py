"""Headroom: how much wider than the calibration samples a range should be, for unseen samples."""

from __future__ import annotations

import numpy as np

UNSEEN_SHARE = 0.25
"""The probability with which a call is treated as unseen."""
MAX_RANKS = 16
"""The number of calls, from the farthest on, that may be the farthest one of the seen calls. More are too unlikely."""
FACTORS = np.array([1, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.75, 2])
"""The factors that are compared."""


def headroom(extremes: np.ndarray, values: float, rest: float, bits: int) -> float:
    """Return the factor, 1 to 2, for one end of a range that has the least expected squared error.

    `extremes`, [calls], is how far beyond 0 each call goes at that end. `rest` is how far the range goes at the other
    end. Both are in units of the activation. `values` is the number of values in all calls, and `bits` their width.

    Let p be UNSEEN_SHARE, the chance that a call is unseen. The call with k calls beyond it is the farthest seen with
    a chance of (1 − p)·pᵏ. Each call beyond it has at least one value that is clipped. A wider range clips less, but it
    has coarser steps. A step s adds s² / 12 to the squared error of each value.
    """
    farthest = np.maximum(np.sort(extremes)[::-1][:MAX_RANKS], 0).astype(np.float64)
    chance = (1 - UNSEEN_SHARE) * UNSEEN_SHARE ** np.arange(len(farthest))
    ends = FACTORS * farthest[:, np.newaxis]
    beyond = np.maximum(farthest[:, np.newaxis] - ends[:, np.newaxis], 0)  # [farthest seen, calls, factors]
    clipping = chance @ np.square(beyond).sum(1)
    rounding = UNSEEN_SHARE * values * np.square((ends[0] + rest) / (2**bits - 1)) / 12
    return float(FACTORS[np.argmin(clipping + rounding)])
