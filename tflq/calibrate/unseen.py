"""How far an activation goes in calls that calibration has not seen."""

from __future__ import annotations

import numpy as np

PART = 0.25
"""Of the calls, taken for calls that were not seen."""
RANKS = 16
"""Calls of which one has the largest value of all that were seen; that it is none of them is all but impossible."""
FACTORS = np.array([1, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.75, 2])


def reach(extremes: np.ndarray, values: float, rest: float) -> float:
    """By what to multiply the end of a range of int8, at least 1, for the least squared error that is to be expected.

    `extremes` are how far beyond 0 each call goes at that end, `values` how many become integers in all calls, and
    `rest` is the width of the range on the other side of 0. Where any part of the calls might as well not have been
    seen, the call with the k-th largest extreme, from 0, is the largest that was with a chance of (1 − PART)·PARTᵏ;
    what the others have beyond it is cut off, at least one value of each. On the other hand a wider range has coarser
    steps for all values.
    """
    largest = np.maximum(np.sort(extremes)[::-1][:RANKS], 0).astype(np.float64)
    chance = (1 - PART) * PART ** np.arange(len(largest))
    beyond = np.maximum(
        largest[:, np.newaxis] - FACTORS * largest[:, np.newaxis, np.newaxis], 0
    )  # [k, others, factors]
    clipping = chance @ np.square(beyond).sum(1)
    rounding = PART * values * np.square((largest[0] * FACTORS + rest) / 255) / 12
    return float(FACTORS[np.argmin(clipping + rounding)])
