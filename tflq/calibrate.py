"""Calibration samples: read once, checked before TensorFlow sees them, kept on disk for every variant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from tflq.datasets import Dataset, Sample, TensorSpec, select
from tflq.errors import DatasetError
from tflq.inputs import Input, Summary, Survey, check_calibration, make_sample
from tflq.sources import Prepared
from tflq.strict import Strict, or_words
from tflq.worker import Report

SampleCount = Annotated[PositiveInt | Literal["all"], or_words("a whole number above 0", "all")]
Seed = Annotated[NonNegativeInt | Literal["first"], or_words("a whole number from 0", "first")]


class Percentile(Strict):
    """Ranges that leave out the rarest values."""

    percentile: Annotated[float, Field(gt=50, le=100)] = Field(description="Of all values of a tensor, such as 99.99.")


class Calibration(Strict):
    """The samples that the ranges of activations are taken from."""

    dataset: Dataset
    samples: SampleCount = Field(200, description="How many rows, or `all`; fewer where the dataset has fewer.")
    seed: Seed = Field(0, description="Which rows: a seeded sample, or `first` for the first in order.")
    ranges: Annotated[Literal["minmax", "mse"] | Percentile, or_words("{percentile: 99.99}", "minmax", "mse")] = Field(
        "minmax", description="Only minmax in this version."
    )
    cache: bool = Field(True, description="Has no effect in this version, which keeps nothing between runs.")

    @field_validator("ranges")
    @classmethod
    def _only_minmax(cls, value: object) -> object:
        if value != "minmax":
            raise ValueError("only minmax is available in this version: leave this out")
        return value


@dataclass(frozen=True)
class Samples:
    """Samples on disk, one raw array an input; any number of processes may read them."""

    folder: Path
    count: int
    arrays: tuple[tuple[TensorSpec, tuple[int, ...]], ...]
    """Each input, and the shape of one sample of it."""

    def batches(self, size: int) -> Iterator[Sample]:
        """Calls of `size` samples each, [size, ...]; the last sample is repeated to fill the last call."""
        arrays = {
            spec.name: np.memmap(self.folder / str(index), np.dtype(spec.dtype), "r", shape=(self.count, *shape))
            for index, (spec, shape) in enumerate(self.arrays)
        }
        for start in range(0, self.count, size):
            chosen = np.minimum(np.arange(start, start + size), self.count - 1)
            yield {spec.name: spec.call(arrays[spec.name][chosen]) for spec, _ in self.arrays}


@dataclass(frozen=True)
class Gathered:
    """Calibration samples, and what they are like."""

    samples: Samples
    total: int | None
    """Rows that the dataset holds; None where only reading them all would tell."""
    summaries: tuple[Summary, ...]


def gather(
    report: Report, calibration: Calibration, inputs: Mapping[str, Input], source: Prepared, folder: Path
) -> Gathered:
    """Read the samples into the folder; DatasetError where they cannot calibrate, before TensorFlow sees them."""
    chosen = select(calibration.dataset, calibration.samples, calibration.seed)
    survey, writer = Survey(), _Writer(folder, source.inputs)
    rows = calibration.dataset.rows(chosen.indices, source.inputs)
    for index, row in zip(chosen.indices, rows, strict=False):
        sample = make_sample(row, inputs, source.inputs)
        survey.add(sample, index)
        writer.add(sample)
        report(writer.count, len(chosen.indices))
    if not writer.count:
        raise DatasetError(f"{calibration.dataset}: yields no rows, so there is nothing to calibrate with")
    check_calibration(survey.summaries())
    return Gathered(writer.close(), chosen.total, survey.summaries())


class _Writer:
    """Appends samples to one raw file an input; their number need not be known before."""

    def __init__(self, folder: Path, specs: Sequence[TensorSpec]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.specs, self.count = folder, specs, 0
        self._files = [(folder / str(index)).open("wb") for index, _ in enumerate(specs)]
        self._shapes: dict[str, tuple[int, ...]] = {}

    def add(self, sample: Sample) -> None:
        for spec, file in zip(self.specs, self._files, strict=True):
            sample[spec.name].tofile(file)
            self._shapes[spec.name] = sample[spec.name].shape
        self.count += 1

    def close(self) -> Samples:
        for file in self._files:
            file.close()
        return Samples(self.folder, self.count, tuple((s, self._shapes[s.name]) for s in self.specs))
