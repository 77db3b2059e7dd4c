"""The interface of a metric: a row of statistics for each sample, and the value of rows.

So samples can be scored in any process and in any order, and can be resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tflq.errors import DatasetError


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

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the metric over samples, of which each is counted so many times: [samples, k], [..., samples] → [...].

        Resamples are such counts. The value is NaN if it is not defined.
        """


class SampleMetric(Metric, Protocol):
    """A metric that compares one output with one label."""

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Return one sample's statistics, float64 [k]. Raise DatasetError if the label does not fit the output."""


def stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return the statistics of samples as one array, [samples, k]. Shorter rows end with NaN."""
    return padded([row[np.newaxis] for row in rows])


def padded(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rows of all parts as one array. Shorter rows end with NaN."""
    width = max(part.shape[1] for part in parts)
    ends = (np.full((len(part), width - part.shape[1]), np.nan) for part in parts)
    return np.concatenate([np.hstack(pair) if pair[1].size else pair[0] for pair in zip(parts, ends, strict=True)])


def value_of(metric: Metric, rows: np.ndarray) -> float:
    """Return the metric over all samples. `rows`: their statistics, [samples, k]."""
    return float(metric.value(rows, np.ones(len(rows))))


def mean(rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean from rows of [sum, count]."""
    totals = counts @ rows
    return np.asarray(totals[..., 0] / totals[..., 1])


def class_index(label: np.ndarray, classes: int) -> int:
    """Return the class of a label that is its index or one-hot."""
    flat = numbers(label)
    if flat.size == classes and classes > 1:  # one-hot
        return int(flat.argmax())
    if flat.size != 1 or not 0 <= flat[0] < classes or flat[0] % 1:
        raise DatasetError(
            f"the label {flat.tolist()[:8]} is neither a class index from 0 to {classes - 1} nor one-hot"
        )
    return int(flat[0])


def numbers(label: np.ndarray) -> np.ndarray:
    """Return the numbers of a label, flat."""
    flat = np.asarray(label).reshape(-1)
    if flat.dtype.kind not in "biuf":
        raise DatasetError(f"the label {flat.tolist()[:8]} should be a number or several numbers")
    return flat


def same_number(output: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the numbers of a label that has one for each element of the output."""
    truth = numbers(label)
    if output.size != truth.size:
        raise DatasetError(f"the output has {output.size} elements {output.shape}, but the label has {truth.size}")
    return truth
