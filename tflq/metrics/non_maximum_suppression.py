"""Non-maximum suppression of overlapping boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from tflq.metrics.box_matching import intersection_over_union
from tflq.strict import Strict

CANDIDATES = 1000
"""The number of detections that are compared at first. More are compared if too few of these are kept."""


@dataclass(frozen=True)
class Detections:
    """The boxes that a model found in one sample, each with its score and its class."""

    boxes: np.ndarray
    """Corners, float64 [detections, 4]."""
    scores: np.ndarray
    """float64 [detections]."""
    classes: np.ndarray
    """Whole numbers, float64 [detections]."""

    def take(self, places: np.ndarray) -> Detections:
        """Return the detections at these places, or those for which `places` is true."""
        return Detections(self.boxes[places], self.scores[places], self.classes[places])


class NonMaximumSuppression(Strict):
    """Drops boxes that overlap a box of a higher score, for a model that answers several boxes for one object."""

    iou: float = Field(
        0.5, ge=0, le=1, description="A box is dropped if its IoU with a kept box of a higher score is larger."
    )
    score: float = Field(
        0.05,
        allow_inf_nan=False,
        description="Detections with a lower score are dropped first. It is compared with the output as it is, which"
        " may be a probability or a logit.",
    )
    max_boxes: int = Field(
        100, ge=1, description="The most detections of a sample that are kept, of all classes: those of highest scores."
    )
    per_class: bool = Field(
        True,
        description="Whether only boxes of the same class drop each other. Then each class of a box is a detection of"
        " its own. If not, a box has the class of its highest score.",
    )

    def kept(self, found: Detections) -> Detections:
        """Return the detections that no other one suppresses, the highest score first. Of equal scores, the first."""
        found = found.take(found.scores >= self.score)
        order = np.argsort(-found.scores, kind="stable")
        size = CANDIDATES
        kept = self._of_best(found, order[:size])
        while len(kept) < self.max_boxes and size < len(order):
            size *= 4
            kept = self._of_best(found, order[:size])
        return found.take(kept[: self.max_boxes])

    def _of_best(self, found: Detections, order: np.ndarray) -> np.ndarray:
        """Return the places of those that are kept, of detections whose places are in the order of their scores."""
        groups = found.classes[order] if self.per_class else np.zeros(len(order))
        is_kept = np.zeros(len(found.scores), bool)
        for group in np.unique(groups):
            is_kept[self._of_group(found, order[groups == group])] = True
        return np.asarray(order[is_kept[order]])

    def _of_group(self, found: Detections, left: np.ndarray) -> list[int]:
        """Return the places of those that are kept, of ordered detections that suppress each other."""
        kept: list[int] = []
        while left.size and len(kept) < self.max_boxes:
            kept.append(int(left[0]))
            overlaps = intersection_over_union(found.boxes[left[:1]], found.boxes[left[1:]])[0]
            left = left[1:][overlaps <= self.iou]
        return kept
