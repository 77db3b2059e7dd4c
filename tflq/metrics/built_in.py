"""Metrics. Each turns a sample into a row of statistics, and a sum of rows into the value of the metric.

So samples can be scored in any process and in any order, and can be resampled.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field

from tflq.errors import DatasetError, EvaluationError
from tflq.strict import FunctionName, FunctionOfFolder, RecipePath
from tflq.worker import require_own_process


class Metric(Protocol):
    """A score of a model over samples."""

    @property
    def name(self) -> str:
        """The name of the metric in recipes and reports."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value is better, so that a lower one counts as a drop."""

    @property
    def is_mean(self) -> bool:
        """Whether the metric is the mean of one value a sample: the statistics are [sum, count] of these."""

    @property
    def is_right_or_wrong(self) -> bool:
        """Whether the value of a sample is 1 if it is right and 0 if it is wrong."""

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Return one sample's statistics, float64 [k]. Raise DatasetError if the label does not fit the output."""

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Return the metric of summed statistics: [..., k] → [...]."""


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
        index = _class_index(label, output.size)
        return np.array([top_k_odds(output, index, self.k), 1.0])

    def value(self, totals: np.ndarray) -> np.ndarray:
        return _mean(totals)


def top_k_odds(scores: np.ndarray, index: int, k: int) -> float:
    """Return the probability that `index` is among the k highest scores if ties are broken at random.

    Quantized scores tie often. A fixed order of ties would favour low indices.
    """
    flat = scores.reshape(-1)
    if np.isnan(flat[index]):
        return 0.0
    above, tied = int((flat > flat[index]).sum()), int((flat == flat[index]).sum())
    return min(max((k - above) / tied, 0.0), 1.0)


def _class_index(label: np.ndarray, classes: int) -> int:
    flat = _numbers(label)
    if flat.size == classes and classes > 1:  # one-hot
        return int(flat.argmax())
    if flat.size != 1 or not 0 <= flat[0] < classes or flat[0] % 1:
        raise DatasetError(
            f"the label {flat.tolist()[:8]} is neither a class index from 0 to {classes - 1} nor one-hot"
        )
    return int(flat[0])


def _numbers(label: np.ndarray) -> np.ndarray:
    flat = np.asarray(label).reshape(-1)
    if flat.dtype.kind not in "biuf":
        raise DatasetError(f"the label {flat.tolist()[:8]} should be a number or several numbers")
    return flat


def _mean(totals: np.ndarray) -> np.ndarray:
    return np.asarray(totals[..., 0] / totals[..., 1])


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

    def value(self, totals: np.ndarray) -> np.ndarray:
        return np.sqrt(_mean(totals)) if self.name == "rmse" else _mean(totals)


def _difference(output: np.ndarray, label: np.ndarray) -> np.ndarray:
    truth = _numbers(label)
    if output.size != truth.size:
        raise DatasetError(f"the output has {output.size} elements {output.shape}, but the label has {truth.size}")
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

    def value(self, totals: np.ndarray) -> np.ndarray:
        residual, total, squares, count = np.moveaxis(totals, -1, 0)
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
        _difference(output, label)
        right = (output.reshape(-1) > 0.5) == (np.asarray(label).reshape(-1) > 0.5)
        return np.array([right.sum(), right.size], np.float64)

    def value(self, totals: np.ndarray) -> np.ndarray:
        return _mean(totals)


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
        truth = _numbers(label).astype(np.int64)
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

    def value(self, totals: np.ndarray) -> np.ndarray:
        hits, union = np.split(totals, 2, axis=-1)
        occurs = union > 0
        return np.asarray(np.where(occurs, hits / np.where(occurs, union, 1), 0).sum(-1) / occurs.sum(-1))


class Custom(FunctionOfFolder):
    """A Python function `fn(output, label) -> float` of one sample. The metric is its mean over samples."""

    is_mean: ClassVar[bool] = True
    is_right_or_wrong: ClassVar[bool] = False

    python: FunctionName = Field(description="module:function, such as mypackage.metrics:dice")
    higher_is_better: bool = Field(
        True, description="`false` if lower is better, as for an error. Then a rise counts as a drop."
    )
    folder: RecipePath = Field(
        default=Path(),
        validate_default=True,
        description="Folder of the module. Default: the folder of the recipe.",
    )

    @property
    def name(self) -> str:
        return self.python

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        return np.array([float(self._function()(output, label)), 1.0])

    def value(self, totals: np.ndarray) -> np.ndarray:
        return _mean(totals)

    def _function(self) -> Callable[[np.ndarray, np.ndarray], float]:
        require_own_process()  # it may change its process, and it may depend on what others changed
        module, _, name = self.python.partition(":")
        sys.path.insert(0, str(self.folder))
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise EvaluationError(f"metric {self.python}: cannot be imported from {self.folder}: {error}") from error
        finally:
            sys.path.remove(str(self.folder))
        return function  # type: ignore[no-any-return]
