"""F1, the harmonic mean of precision and recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tflq.errors import DatasetError
from tflq.metrics.metric import class_index, numbers, same_number


@dataclass(frozen=True)
class F1:
    """2·TP / (2·TP + FP + FN) over all samples.

    An output of one row of scores answers a class; F1 is then the mean over the classes that occur. Any other output is
    of probabilities, and F1 is that of the elements above 0.5. Of masks, it is the Dice coefficient.
    """

    name: ClassVar[str] = "f1"
    higher_is_better: ClassVar[bool] = True
    is_mean: ClassVar[bool] = False
    is_right_or_wrong: ClassVar[bool] = False

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Return [TP, FP, FN] of probabilities, or [true class, answered class]."""
        if output.ndim != 2 or output.shape[1] == 1:
            found, truth = output.reshape(-1) > 0.5, same_number(output, label) > 0.5
            return np.array([(found & truth).sum(), (found & ~truth).sum(), (~found & truth).sum()], np.float64)
        flat, classes = numbers(label), output.shape[1]
        if flat.size == classes and np.sort(flat)[-2:].tolist() != [0, 1]:
            raise DatasetError(
                f"the label {flat.tolist()[:8]} has {classes} numbers and is not one-hot; f1 of an output"
                f" {output.shape} needs one class, as an index from 0 to {classes - 1} or one-hot"
            )
        return np.array([class_index(label, classes), output.argmax()], np.float64)

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        if rows.shape[1] == 3:
            hits, false, missed = np.moveaxis(counts @ rows, -1, 0)
            return _f1(hits, 2 * hits + false + missed)
        draws = counts.reshape(-1, counts.shape[-1])
        return np.reshape([_mean_f1(rows.astype(np.int64), weights) for weights in draws], counts.shape[:-1])


def _mean_f1(rows: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean F1 of the classes that occur. `rows`: the true and the answered class, [samples, 2]."""
    classes, is_right = int(rows.max()) + 1, rows[:, 0] == rows[:, 1]
    hits = np.bincount(rows[is_right, 0], weights[is_right], classes)
    occurrences = np.bincount(rows.reshape(-1), np.repeat(weights, 2), classes)
    occurs = occurrences > 0
    return float(_f1(hits[occurs], occurrences[occurs]).mean())


def _f1(hits: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return 2·TP divided by the total; NaN if there is nothing to find, and nothing was found."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(2 * hits / total)
