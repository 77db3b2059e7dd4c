"""Check samples before TensorFlow reads them, and summarize them for the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tflq.datasets import Sample
from tflq.errors import DatasetError
from tflq.inputs.schema import Input


def check_finite(sample: Sample, row: int, dataset: object) -> None:
    """Raise DatasetError if the sample contains NaN or infinities. `row` is the index of its row in the dataset."""
    for name, array in sample.items():
        if array.dtype.kind == "f" and not (is_finite := np.isfinite(array)).all():
            raise DatasetError(
                f"{dataset}: row {row}: input {name!r} holds {array[~is_finite].flat[0]}:"
                " correct the data, its scale and offset, or leave that row out"
            )


@dataclass(frozen=True)
class InputSummary:
    """The values of a model input over all samples."""

    name: str
    dtype: str
    rank: int
    """The number of dimensions of one sample."""
    samples: int
    minimum: float
    maximum: float
    mean: float
    std: float
    is_repeated: bool
    """Whether there are several samples and all are equal."""

    @property
    def is_raw_image(self) -> bool:
        """Whether this is a float input of three or more dimensions with values like those of pixels."""
        return self.dtype == "float32" and self.rank >= 3 and self.minimum >= 0 and 128 <= self.maximum <= 255

    @property
    def is_constant(self) -> bool:
        return self.minimum == self.maximum


OVERSHOOT = 0.05
"""The share of the declared range by which samples may exceed it, because resizing overshoots."""


def check_calibration(summaries: Iterable[InputSummary], inputs: Mapping[str, Input]) -> None:
    """Raise DatasetError if an input is outside its declared range or never varies. Ids and masks may be constant."""
    for summary in summaries:
        declared = inputs[summary.name].range if summary.name in inputs else None
        if declared is not None:
            _check_range(summary, declared)
        dtype = np.dtype(summary.dtype)
        is_quantity = dtype.kind == "f" or (dtype.kind in "iu" and dtype.itemsize == 1)
        if summary.is_constant and is_quantity:
            raise DatasetError(
                f"input {summary.name!r} never varies: it is {summary.minimum:g} in all {summary.samples} calibration"
                " samples, so it has no range; check its column, scale and offset"
            )


def _check_range(summary: InputSummary, declared: tuple[float, float]) -> None:
    slack = OVERSHOOT * (declared[1] - declared[0])
    if summary.minimum < declared[0] - slack or summary.maximum > declared[1] + slack:
        raise DatasetError(
            f"input {summary.name!r} is from {summary.minimum:g} to {summary.maximum:g} in the calibration samples,"
            f" but inputs.{summary.name}.range says {declared[0]:g} to {declared[1]:g}: check its scale and offset"
        )


def data_warnings(summaries: Iterable[InputSummary], inputs: Mapping[str, Input]) -> Iterator[str]:
    """Yield a warning for values of calibration samples that are allowed but probably a mistake."""
    for summary in summaries:
        config = inputs.get(summary.name)
        if config is not None and config.range is not None:
            low, high = config.range
            if summary.maximum - summary.minimum < 0.1 * (high - low):
                yield (
                    f"input {summary.name!r} is from {summary.minimum:g} to {summary.maximum:g} in the calibration"
                    f" samples, a small part of the declared range, {low:g} to {high:g}: check its scale and offset"
                )
        elif summary.is_raw_image:
            yield (
                f"input {summary.name!r} is from {summary.minimum:g} to {summary.maximum:g}, like raw pixels: if the"
                f" model expects [0, 1] or [-1, 1], give inputs.{summary.name} a scale and offset; if it takes pixels,"
                " add range: [0, 255]"
            )


class SummaryBuilder:
    """Summarizes samples of a dataset one by one, and checks that each is finite."""

    def __init__(self, dataset: object) -> None:
        self.dataset = dataset
        self._tallies: dict[str, _InputTally] = {}

    def add(self, sample: Sample, row: int) -> None:
        """Add the sample of that row. Raise DatasetError if it is not finite."""
        check_finite(sample, row, self.dataset)
        for name, array in sample.items():
            self._tallies.setdefault(name, _InputTally(array)).add(array)

    def summaries(self) -> tuple[InputSummary, ...]:
        return tuple(tally.summary(name) for name, tally in self._tallies.items())


class _InputTally:
    """The running statistics of an input. Mean and variance are updated as in Chan, Golub and LeVeque (1979)."""

    def __init__(self, first: np.ndarray) -> None:
        self.first = first
        self.samples = 0
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0
        self.minimum = math.inf
        self.maximum = -math.inf
        self.is_repeated = True

    def add(self, array: np.ndarray) -> None:
        values = array.astype(np.float64)
        mean, total = float(values.mean()), self.count + values.size
        self.squares += (
            float(np.square(values - mean).sum()) + (mean - self.mean) ** 2 * self.count * values.size / total
        )
        self.mean += (mean - self.mean) * values.size / total
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))
        self.is_repeated = self.is_repeated and np.array_equal(array, self.first)
        self.samples, self.count = self.samples + 1, total

    def summary(self, name: str) -> InputSummary:
        std = math.sqrt(self.squares / self.count)
        is_repeated = self.is_repeated and self.samples > 1
        values = (self.minimum, self.maximum, self.mean, std)
        return InputSummary(name, str(self.first.dtype), self.first.ndim, self.samples, *values, is_repeated)
