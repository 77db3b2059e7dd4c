"""Average precision of ranked detections, as the COCO challenge computes it."""

from __future__ import annotations

import numpy as np

RECALLS = np.linspace(0, 1, 101)
"""The recalls at which the precision is read."""
CHUNK = 2_000_000
"""The largest number of values that are computed at once."""


def average_precision(is_right: np.ndarray, counted: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the mean over recalls of the precision at that recall or a higher one, for each draw and threshold.

    `is_right`: whether each detection is right at each threshold, the highest score first, [detections, thresholds].
    `counted`: how often each detection counts in each draw, whole numbers [draws, detections]. `total`: the number of
    true boxes of each draw. The value is NaN for a draw without a true box. The result is [draws, thresholds].
    """
    found = np.full((len(total), is_right.shape[1]), np.nan)
    found[total > 0] = 0.0
    size = max(CHUNK // max(is_right.size, 1), 1)
    for start in range(0, len(total) if len(is_right) else 0, size):
        part = slice(start, start + size)
        for place, column in enumerate(is_right.T):
            drawn = total[part] > 0
            values = _of_threshold(column, counted[part][drawn], total[part][drawn])
            found[part, place][drawn] = values
    return found


def _of_threshold(is_right: np.ndarray, counted: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the average precision of each draw, [draws]. `is_right`: [detections]; the others as above."""
    hits, all_ = np.cumsum(counted * is_right, 1), np.cumsum(counted, 1)
    precision = hits / np.maximum(all_, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    enough = _hits_for(total)
    count, top = hits.shape[1], 1 + max(hits.max(initial=0), enough.max(initial=0))
    offsets = top * np.arange(len(hits))[:, np.newaxis]  # one sorted list of all draws
    places = np.searchsorted((hits + offsets).reshape(-1), (enough + offsets).reshape(-1)).reshape(enough.shape)
    places -= count * np.arange(len(hits))[:, np.newaxis]
    reached = np.where(places < count, np.take_along_axis(envelope, np.minimum(places, count - 1), 1), 0)
    return np.asarray(reached.mean(1))


def _hits_for(total: np.ndarray) -> np.ndarray:
    """Return how many hits have each recall or a higher one, [draws, recalls]. The division is that of the recall."""
    totals = total[:, np.newaxis]
    enough = np.ceil(RECALLS * totals)
    enough = np.where((enough - 1) / totals >= RECALLS, enough - 1, enough)
    return np.asarray(np.where(enough / totals < RECALLS, enough + 1, enough))
