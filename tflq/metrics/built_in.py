"""Metrics of classes, numbers and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from tflq.errors import DatasetError
from tflq.metrics.metric import class_index, mean, numbers, same_number


@dataclass(frozen=True)
class TopK:
    """The share of samples whose label is among the k highest outputs. A tie counts by its probability."""

    k: int
    higher_is_better: ClassVar[bool] = True
    is_mean: ClassVar[bool] = True
    is_right_or_wrong: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"top{self.k}"

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        index = class_index(label, output.size)
        return np.array([top_k_odds(output, index, self.k), 1.0])

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return mean(rows, counts)


def top_k_odds(scores: np.ndarray, index: int, k: int) -> float:
    """Return the probability that `index` is among the k highest scores if ties are broken at random.

    Quantized scores tie often. A fixed order of ties would favour low indices.
    """
    flat = scores.reshape(-1)
    if np.isnan(flat[index]):
        return 0.0
    above, tied = int((flat > flat[index]).sum()), int((flat == flat[index]).sum())
    return min(max((k - above) / tied, 0.0), 1.0)


@dataclass(frozen=True)
class Elementwise:
    """The mean absolute or squared difference of output and label over all elements: mae, mse, rmse."""

    name: Literal["mae", "mse", "rmse"]
    higher_is_better: ClassVar[bool] = False
    is_right_or_wrong: ClassVar[bool] = False

    @property
    def is_mean(self) -> bool:
        return self.name != "rmse"

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        difference = _difference(output, label)
        error = np.abs(difference) if self.name == "mae" else difference**2
        return np.array([error.sum(), error.size])

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return np.sqrt(mean(rows, counts)) if self.name == "rmse" else mean(rows, counts)


def _difference(output: np.ndarray, label: np.ndarray) -> np.ndarray:
    truth = same_number(output, label)
    return np.asarray(output.astype(np.float64).reshape(-1) - truth.astype(np.float64))


@dataclass(frozen=True)
class R2:
    """The coefficient of determination over all elements: 1 − Σ(y − ŷ)² / Σ(y − mean(y))².

    The value is NaN if y is constant.
    """

    name: ClassVar[str] = "r2"
    higher_is_better: ClassVar[bool] = True
    is_mean: ClassVar[bool] = False
    is_right_or_wrong: ClassVar[bool] = False

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        truth = np.asarray(label, np.float64)
        return np.array([(_difference(output, label) ** 2).sum(), truth.sum(), (truth**2).sum(), truth.size])

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        residual, total, squares, count = np.moveaxis(counts @ rows, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(1.0 - residual / (squares - total**2 / count))


@dataclass(frozen=True)
class BinaryAccuracy:
    """The share of outputs on the same side of 0.5 as the label. Outputs are probabilities, not logits."""

    name: ClassVar[str] = "binary_accuracy"
    higher_is_better: ClassVar[bool] = True
    is_mean: ClassVar[bool] = True
    is_right_or_wrong: ClassVar[bool] = True

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        right = (output.reshape(-1) > 0.5) == (same_number(output, label) > 0.5)
        return np.array([right.sum(), right.size], np.float64)

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return mean(rows, counts)


@dataclass(frozen=True)
class MeanIoU:
    """Intersection over union of one confusion matrix over all pixels, averaged over the classes that occur.

    The output has a score for each class in its last dimension, or one probability for each pixel. The label has a
    class for each pixel.
    """

    name: ClassVar[str] = "mean_iou"
    higher_is_better: ClassVar[bool] = True
    is_mean: ClassVar[bool] = False
    is_right_or_wrong: ClassVar[bool] = False

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        truth = numbers(label).astype(np.int64)
        classes = max(output.shape[-1], 2)
        has_scores = output.shape[-1] > 1
        predicted = output.argmax(-1).reshape(-1) if has_scores else (output > 0.5).reshape(-1).astype(np.int64)
        if predicted.size != truth.size or truth.min() < 0 or truth.max() >= classes:
            raise DatasetError(
                f"the label has {truth.size} pixels with classes {truth.min()} to {truth.max()};"
                f" the output has {predicted.size} pixels with {classes} classes"
            )
        hits = np.bincount(truth[truth == predicted], minlength=classes)
        union = np.bincount(truth, minlength=classes) + np.bincount(predicted, minlength=classes) - hits
        return np.concatenate([hits, union]).astype(np.float64)

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        hits, union = np.split(counts @ rows, 2, axis=-1)
        occurs = union > 0
        return np.asarray(np.where(occurs, hits / np.where(occurs, union, 1), 0).sum(-1) / occurs.sum(-1))
