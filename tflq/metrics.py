"""Metrics, fidelity and paired statistics, in NumPy alone.

A metric turns each sample into a row of statistics, and the sum of rows into its value; so samples can be scored in any
process, in any order, and resampled.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field

from tflq.errors import DatasetError, EvaluationError
from tflq.strict import FunctionName, RecipePath, Strict

BuiltIn = Literal["top1", "top5", "mae", "rmse", "mse", "r2", "binary_accuracy", "mean_iou"]


class Metric(Protocol):
    """A score of a model over samples."""

    name: str
    higher_is_better: bool

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        """One sample's row of statistics, float64 [k]; EvaluationError where output and label do not fit."""

    def value(self, totals: np.ndarray) -> np.ndarray:
        """The metric of summed statistics: [..., k] → [...]."""


@dataclass(frozen=True)
class TopK:
    """The share of samples whose label is among the k highest outputs; ties count by their odds."""

    k: int
    higher_is_better: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"top{self.k}"

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        index = _class_index(label, output.size)
        return np.array([top_k_odds(output, index, self.k), 1.0])

    def value(self, totals: np.ndarray) -> np.ndarray:
        return _mean(totals)


def top_k_odds(scores: np.ndarray, index: int, k: int) -> float:
    """The probability that `index` is among the k highest scores when ties are broken at random.

    Quantized scores tie often, and an order of ties that favours low indices would be a bias.
    """
    flat = scores.reshape(-1)
    above = np.count_nonzero(flat > flat[index])
    tied = np.count_nonzero(flat == flat[index])
    return float(np.clip((k - above) / max(tied, 1), 0.0, 1.0))


def _class_index(label: np.ndarray, classes: int) -> int:
    flat = np.asarray(label).reshape(-1)
    if flat.size == classes and classes > 1:  # one-hot
        return int(flat.argmax())
    if flat.size != 1 or flat[0] != int(flat[0]) or not 0 <= flat[0] < classes:
        raise DatasetError(f"the label {flat.tolist()[:8]} is not a class index from 0 to {classes - 1}, nor one-hot")
    return int(flat[0])


def _mean(totals: np.ndarray) -> np.ndarray:
    return np.asarray(totals[..., 0] / totals[..., 1])


@dataclass(frozen=True)
class Elementwise:
    """The mean over all elements of a difference of output and label: mae, mse, rmse."""

    name: Literal["mae", "mse", "rmse"]
    higher_is_better: ClassVar[bool] = False

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        difference = _difference(output, label)
        error = np.abs(difference) if self.name == "mae" else difference**2
        return np.array([error.sum(), error.size])

    def value(self, totals: np.ndarray) -> np.ndarray:
        return np.sqrt(_mean(totals)) if self.name == "rmse" else _mean(totals)


def _difference(output: np.ndarray, label: np.ndarray) -> np.ndarray:
    label = np.asarray(label)
    if output.size != label.size:
        raise DatasetError(f"the output has {output.size} elements {output.shape}, the label {label.size}")
    return np.asarray(output.astype(np.float64).reshape(-1) - label.astype(np.float64).reshape(-1))


@dataclass(frozen=True)
class R2:
    """The coefficient of determination over all elements: 1 − Σ(y − ŷ)² / Σ(y − mean(y))²."""

    name: ClassVar[str] = "r2"
    higher_is_better: ClassVar[bool] = True

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        truth = np.asarray(label, np.float64)
        return np.array([(_difference(output, label) ** 2).sum(), truth.sum(), (truth**2).sum(), truth.size])

    def value(self, totals: np.ndarray) -> np.ndarray:
        residual, total, squares, count = np.moveaxis(totals, -1, 0)
        return np.asarray(1.0 - residual / (squares - total**2 / count))


@dataclass(frozen=True)
class BinaryAccuracy:
    """The share of outputs on the label's side of a threshold, which is 0.5: give probabilities, not logits."""

    name: ClassVar[str] = "binary_accuracy"
    higher_is_better: ClassVar[bool] = True

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        _difference(output, label)
        right = (output.reshape(-1) > 0.5) == (np.asarray(label).reshape(-1) > 0.5)
        return np.array([right.sum(), right.size], np.float64)

    def value(self, totals: np.ndarray) -> np.ndarray:
        return _mean(totals)


@dataclass(frozen=True)
class MeanIoU:
    """Intersection over union of one confusion matrix over all pixels, averaged over the classes that occur.

    The output holds a score per class in its last dimension, or one probability per pixel; the label a class per pixel.
    """

    name: ClassVar[str] = "mean_iou"
    higher_is_better: ClassVar[bool] = True

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        truth = np.asarray(label).reshape(-1).astype(np.int64)
        classes = max(output.shape[-1], 2)
        many = output.shape[-1] > 1
        predicted = output.argmax(-1).reshape(-1) if many else (output > 0.5).reshape(-1).astype(np.int64)
        if predicted.size != truth.size or truth.min() < 0 or truth.max() >= classes:
            raise DatasetError(
                f"the label has {truth.size} pixels with classes {truth.min()} to {truth.max()};"
                f" the output {predicted.size} with {classes} classes"
            )
        hits = np.bincount(truth[truth == predicted], minlength=classes)
        either = np.bincount(truth, minlength=classes) + np.bincount(predicted, minlength=classes) - hits
        return np.concatenate([hits, either]).astype(np.float64)

    def value(self, totals: np.ndarray) -> np.ndarray:
        hits, either = np.split(totals, 2, axis=-1)
        seen = either > 0
        return np.asarray(np.where(seen, hits / np.where(seen, either, 1), 0).sum(-1) / seen.sum(-1))


class Custom(Strict):
    """A function `fn(output, label) -> float` of one sample, whose mean is the metric."""

    python: FunctionName = Field(description="module:function, such as mypackage.metrics:dice.")
    higher_is_better: bool = Field(True, description="false for an error: then a rise of it is what is called a drop.")
    folder: RecipePath = Field(
        default=Path(),
        validate_default=True,
        description="Where the module is found; by default the recipe's own folder.",
    )

    @property
    def name(self) -> str:
        return self.python

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        return np.array([float(self._function()(output, label)), 1.0])

    def value(self, totals: np.ndarray) -> np.ndarray:
        return _mean(totals)

    def _function(self) -> Callable[[np.ndarray, np.ndarray], float]:
        module, _, name = self.python.partition(":")
        sys.path.insert(0, str(self.folder))
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise EvaluationError(f"metric {self.python}: cannot be imported from {self.folder}: {error}") from error
        finally:
            sys.path.remove(str(self.folder))
        return found  # type: ignore[no-any-return]


def built_in(name: BuiltIn) -> Metric:
    """The metric of that name."""
    match name:
        case "top1" | "top5":
            return TopK(int(name[3:]))
        case "mae" | "mse" | "rmse":
            return Elementwise(name)
        case "r2":
            return R2()
        case "binary_accuracy":
            return BinaryAccuracy()
        case "mean_iou":
            return MeanIoU()


@dataclass(frozen=True)
class Drop:
    """How much worse than the base line a metric is on the same samples; negative where it is better."""

    value: float
    low: float
    high: float
    samples: int
    deviation: float
    """The standard deviation that a single sample adds."""

    def samples_to_tell_from(self, bar: float) -> int | None:
        """Samples that would tell the drop from the bar with 80 % power, one-sided 5 %; None where they are equal.

        n = (z₀.₉₅ + z₀.₈₀)² · variance / distance², the paired form; for right-or-wrong outcomes the variance is the
        share of samples on which the two models differ.
        """
        distance = abs(self.value - bar)
        return math.ceil(6.2 * (self.deviation / distance) ** 2) if distance > 0 else None


def paired_drop(metric: Metric, base: np.ndarray, other: np.ndarray) -> Drop:
    """The drop from `base` to `other`, both statistics [samples, k], with its 95 % interval.

    For a mean over samples that is the normal interval of paired differences, which for right-or-wrong outcomes has the
    variance (b + c − (b − c)²/n)/n² of McNemar's table; for other metrics a paired bootstrap over samples.
    """
    sign = 1.0 if metric.higher_is_better else -1.0
    drop = sign * float(metric.value(base.sum(0)) - metric.value(other.sum(0)))
    count = len(base)
    if base.shape[1] == 2 and np.ptp(base[:, 1]) == 0 and metric.name != "rmse":
        deviation = float(np.std(base[:, 0] / base[:, 1] - other[:, 0] / other[:, 1]))
    else:
        deviation = _bootstrap_error(metric, base, other) * math.sqrt(count)
    reach = 1.96 * deviation / math.sqrt(count)
    return Drop(drop, drop - reach, drop + reach, count, deviation)


def _bootstrap_error(metric: Metric, base: np.ndarray, other: np.ndarray, draws: int = 500) -> float:
    random = np.random.default_rng(0)
    differences = []
    for _ in range(draws):
        weights = random.multinomial(len(base), np.full(len(base), 1 / len(base))).astype(np.float64)
        differences.append(metric.value(weights @ base) - metric.value(weights @ other))
    return float(np.std(differences))


ERROR_COLUMNS = 6
"""Columns of `errors`: Σf², Σ(f − q)², Σfq, Σq², max|f − q|, elements."""


def errors(reference: np.ndarray, output: np.ndarray) -> np.ndarray:
    """One sample's sums of float output f and quantized output q, from which its fidelity follows: float64 [6]."""
    f, q = reference.astype(np.float64).reshape(-1), output.astype(np.float64).reshape(-1)
    return np.array([f @ f, (f - q) @ (f - q), f @ q, q @ q, np.abs(f - q).max(initial=0), f.size])


@dataclass(frozen=True)
class Fidelity:
    """How near an output is to the float model's on the same samples; needs no labels."""

    sqnr_db: float
    """10·log10(Σf² / Σ(f − q)²); infinite where equal."""
    cosine: float
    max_abs_error: float
    mse: float


def fidelity(rows: np.ndarray) -> Fidelity:
    """The fidelity over samples of `errors` rows, [samples, 6]."""
    signal, noise, cross, power, _, size = rows.sum(0)
    return Fidelity(
        sqnr_db=float(10 * np.log10(signal / noise))
        if noise > 0 and signal > 0
        else math.inf
        if noise == 0
        else -math.inf,
        cosine=float(cross / np.sqrt(signal * power)) if signal > 0 and power > 0 else float(signal == power),
        max_abs_error=float(rows[:, 4].max()),
        mse=float(noise / size),
    )
