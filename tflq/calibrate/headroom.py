"""How much wider than what calibration saw a range is best made, for the calls that it did not see."""

from __future__ import annotations

import numpy as np

PART = 0.25
"""Of the calls, taken for calls that were not seen."""
RANKS = 16
"""How many calls, from the one that goes farthest on, may be the farthest of those seen; the rest is too unlikely."""
FACTORS = np.array([1, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.75, 2])
"""That are tried."""


def headroom(extremes: np.ndarray, values: float, rest: float, bits: int) -> float:
    """The factor, 1 to 2, for one end of a range, for the least squared error that is to be expected.

    `extremes`, [calls], are how far beyond 0 each call goes at that end, and `rest` how far the range goes at the other
    end, both in units of the activation; `values` are how many become integers of so many bits, in all calls. If each
    call might as well not have been seen, with a chance of PART, the one that goes farthest but for k is the farthest
    seen with a chance of (1 − PART)·PARTᵏ, and of each that goes farther one value is cut off, or more. A wider range,
    on the other hand, has coarser steps, and a step adds its square over 12 to the squared error of each value.
    """
    farthest = np.maximum(np.sort(extremes)[::-1][:RANKS], 0).astype(np.float64)
    chance = (1 - PART) * PART ** np.arange(len(farthest))
    ends = FACTORS * farthest[:, np.newaxis]
    beyond = np.maximum(farthest[:, np.newaxis] - ends[:, np.newaxis], 0)  # [farthest seen, calls, factors]
    clipping = chance @ np.square(beyond).sum(1)
    rounding = PART * values * np.square((ends[0] + rest) / (2**bits - 1)) / 12
    return float(FACTORS[np.argmin(clipping + rounding)])
