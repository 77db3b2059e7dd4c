"""Rows to samples and labels on disk, and from there batches in a seeded order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq import cache
from tflq.calibrate import SampleCount
from tflq.datasets import Dataset, Row, Sample, TensorSpec, brackets, select
from tflq.errors import DatasetError
from tflq.inputs import Input, Stored, Writer, check_finite, make_sample
from tflq.strict import did_you_mean
from tflq.training.schema import Loss
from tflq.worker import ProgressCallback

LABEL = "label"


@dataclass(frozen=True)
class DataRequest:
    """Which rows, and what is made of each of them."""

    section: str
    """The recipe's, for messages."""
    dataset: Dataset
    samples: SampleCount
    seed: int
    label: str
    loss: Loss
    inputs: Mapping[str, Input]


@dataclass(frozen=True)
class Examples:
    """Samples on disk, each with its label."""

    stored: Stored
    total: int | None
    """Rows that the dataset holds; None where only reading them all would tell."""

    def batches(self, size: int, seeds: Sequence[int] | None) -> Iterator[dict[str, np.ndarray]]:
        """All rows once, in an order that the seeds alone decide, or in their own; the last batch may be smaller."""
        arrays, count = self.stored.arrays(), self.stored.count
        order = np.arange(count) if seeds is None else np.random.default_rng(seeds).permutation(count)
        for start in range(0, count, size):
            chosen = order[start : start + size]
            yield {name: array[chosen] for name, array in arrays.items()}

    def contents(self) -> str:
        return cache.contents(self.stored.folder)


def gather(
    report: ProgressCallback, request: DataRequest, specs: Sequence[TensorSpec], output: TensorSpec, folder: Path
) -> Examples:
    """Write the rows' samples and labels into the folder; DatasetError where a row does not fit the model."""
    chosen = select(request.dataset, request.samples, request.seed)
    rows = request.dataset.rows(chosen.indices, specs)
    with Writer(folder, request.section) as writer:
        for index, row in zip(chosen.indices, rows, strict=False):
            writer.add(_made(request, row, index, specs) | {LABEL: _label_of(request, row, output)})
            report(writer.count, len(chosen.indices))
    if not writer.count:
        raise DatasetError(f"{request.dataset}: yields no rows, so there is nothing to train with")
    return Examples(writer.stored, chosen.total)


def _made(request: DataRequest, row: Row, index: int, specs: Sequence[TensorSpec]) -> Sample:
    sample = make_sample(row, request.inputs, specs)
    check_finite(sample, index, request.dataset)
    return sample


def _label_of(request: DataRequest, row: Row, output: TensorSpec) -> np.ndarray:
    if request.label not in row:
        hint = did_you_mean(request.label, row)
        raise DatasetError(
            f"{request.section}: there is no column {request.label!r} for the label{hint}; there are {', '.join(row)}"
        )
    return label(np.asarray(row[request.label]), request, output)


def label(value: np.ndarray, request: DataRequest, output: TensorSpec) -> np.ndarray:
    """As the loss takes it; DatasetError where it does not fit the model's output."""
    answer = tuple(size for size in (output.sample_shape or ()) if size is not None)
    if request.loss == "sparse_categorical_crossentropy":
        return _classes(value, request, answer)
    if value.size != np.prod(answer):
        hint = "; for class numbers take sparse_categorical_crossentropy" if value.size == 1 else ""
        raise DatasetError(
            f"{request.section}: the label {_shown(value)}, where the model answers"
            f" {brackets(answer)}; {request.loss} takes one for each{hint}"
        )
    return value.astype(np.float32).reshape(answer)


def _classes(value: np.ndarray, request: DataRequest, answer: tuple[int, ...]) -> np.ndarray:
    classes = answer[-1] if answer else 1
    if value.size != np.prod(answer[:-1]):
        hint = "; for one-hot labels take categorical_crossentropy" if value.size == np.prod(answer) else ""
        raise DatasetError(
            f"{request.section}: the label {_shown(value)}, where the model answers"
            f" {brackets(answer)}; {request.loss} takes one class number for each row of classes{hint}"
        )
    if value.dtype.kind not in "biuf" or (strange := value[(value < 0) | (value >= classes) | (value % 1 != 0)]).size:
        told = strange if value.dtype.kind in "biuf" else value
        raise DatasetError(f"{request.section}: the label {_shown(told)} is no class number from 0 to {classes - 1}")
    return value.astype(np.int64).reshape(answer[:-1])


def _shown(value: np.ndarray) -> str:
    return str(value.reshape(-1)[:8].tolist())
