"""The area under the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tflq.errors import DatasetError
from tflq.metrics.metric import class_index, numbers


@dataclass(frozen=True)
class RocAuc:
    """The probability that a sample of the class has a higher score than one that is not. A tie counts half.

    Of two scores, the class is the second. Of more scores, each class is compared with all others, and the value is the
    mean over the classes of which there are both kinds of samples. The label is the class or one-hot. It may also be
    several tags: a 0 or 1 for each score.
    """

    name: ClassVar[str] = "auc"
    higher_is_better: ClassVar[bool] = True
    is_mean: ClassVar[bool] = False
    is_right_or_wrong: ClassVar[bool] = False

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Return the scores, followed by the 0 or 1 of each."""
        scores, truth = output.astype(np.float64).reshape(-1), numbers(label)
        if scores.size == 2 and truth.size == 1:
            scores = scores[1:] - scores[:1]
        if truth.size == 1 and scores.size > 1:
            truth = np.eye(scores.size)[class_index(label, scores.size)]
        if truth.size != scores.size or not np.isin(truth, (0, 1)).all():
            raise DatasetError(
                f"the label {truth.tolist()[:8]} should be a class index, or a 0 or 1 for each of the {output.size}"
                f" scores of the output {output.shape}"
            )
        return np.concatenate([scores, truth])

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        if np.isnan(rows).any():
            return np.full(counts.shape[:-1], np.nan)
        areas = np.stack([_area(scores, truth, counts) for scores, truth in zip(*np.split(rows.T, 2), strict=True)])
        has_both = np.isfinite(areas)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(has_both, areas, 0).sum(0) / has_both.sum(0))


def _area(scores: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the share of pairs in the right order; NaN if all samples are of one kind."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)  # of samples with the same score
    starts = starts if len(starts) and not starts[0] else np.concatenate([[0], starts])
    counted = counts[..., order]
    members = np.add.reduceat(counted * truth[order], starts, axis=-1)
    others = np.add.reduceat(counted * (1 - truth[order]), starts, axis=-1)
    below = np.cumsum(others, -1) - others
    right = (members * (below + others / 2)).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(right / (members.sum(-1) * others.sum(-1)))
