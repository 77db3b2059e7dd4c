"""The normalized discounted cumulative gain of rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tflq.errors import DatasetError
from tflq.metrics.metric import mean, same_number


@dataclass(frozen=True)
class Ndcg:
    """Σ gain / log₂(1 + rank), divided by that of the best order; the mean over samples.

    A sample is a list of items. The output has a score for each item, and the label its gain, 0 or more. A negative
    gain stands for no item. Items with the same score share their ranks. The value of a sample without gains is 0.
    """

    first: int | None = None
    """The number of ranks that count; None if all do."""
    higher_is_better: ClassVar[bool] = True
    is_mean: ClassVar[bool] = True
    is_right_or_wrong: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return f"ndcg{self.first or ''}"

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        scores, gains = output.astype(np.float64).reshape(-1), same_number(output, label).astype(np.float64)
        if scores.size < 2 or not np.isfinite(gains).all():
            raise DatasetError(f"the label {gains.tolist()[:8]} should have the gain of each of two or more items")
        if np.isnan(scores).any():
            return np.array([np.nan, 1.0])
        is_item = gains >= 0
        best = self._gain(gains[is_item], gains[is_item])
        return np.array([self._gain(scores[is_item], gains[is_item]) / best if best else 0.0, 1.0])

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return mean(rows, counts)

    def _gain(self, scores: np.ndarray, gains: np.ndarray) -> float:
        """Return the discounted gain in the order of the scores. Of a tie, it is the mean over all orders."""
        discounts = 1 / np.log2(np.arange(2, scores.size + 2))
        discounts[self.first :] = 0 if self.first else discounts[self.first :]
        _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
        sums = np.add.reduceat(discounts, np.cumsum(sizes) - sizes) if scores.size else np.zeros(0)
        return float((np.bincount(group, gains, len(sizes)) / sizes) @ sums)
