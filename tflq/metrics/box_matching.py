"""Match detected boxes with true boxes, as the COCO challenge does."""

from __future__ import annotations

from typing import Literal

import numpy as np

BoxFormat = Literal["yxyx", "xyxy", "xywh", "cxcywh"]
MAX_DETECTIONS = 100
"""The most detections of a class in one sample that count: those with the highest scores."""


def corners(boxes: np.ndarray, form: BoxFormat) -> np.ndarray:
    """Return the boxes as x and y of the first corner, and x and y of the other one, float64 [boxes, 4]."""
    values = np.asarray(boxes, np.float64).reshape(-1, 4)
    if form == "yxyx":
        return values[:, [1, 0, 3, 2]]
    if form == "xyxy":
        return values
    first = values[:, :2] - values[:, 2:] / 2 if form == "cxcywh" else values[:, :2]
    return np.concatenate([first, first + values[:, 2:]], 1)


def intersection_over_union(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the IoU of each box with each other one, [boxes, others]. Both are corners."""
    first = np.maximum(boxes[:, np.newaxis, :2], others[:, :2])
    last = np.minimum(boxes[:, np.newaxis, 2:], others[:, 2:])
    common = np.clip(last - first, 0, None).prod(-1)
    areas, other_areas = ((each[:, 2:] - each[:, :2]).prod(-1) for each in (boxes, others))
    union = areas[:, np.newaxis] + other_areas - common
    return np.asarray(np.where(union > 0, common / np.where(union > 0, union, 1), 0))


def matches(overlaps: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return which detections of one class are right at each threshold of the IoU, [detections, thresholds].

    `overlaps`: the IoU of each detection, the highest score first, with each true box. A detection takes the true box
    that it overlaps most, if that is enough and no other one has it. Of equal overlaps, it takes the last.
    """
    found = np.zeros((len(overlaps), len(thresholds)), bool)
    largest = overlaps.max(1, initial=-1)
    for place, threshold in enumerate(np.minimum(thresholds, 1 - 1e-10)):
        is_free = np.ones(overlaps.shape[1], bool)
        for number in np.flatnonzero(largest >= threshold):
            free = np.where(is_free, overlaps[number], -1)
            best = free.size - 1 - int(free[::-1].argmax())
            if free[best] >= threshold:
                is_free[best], found[number, place] = False, True
    return found
