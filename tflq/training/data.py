"""Write samples and labels to disk, and read them as batches in a seeded order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq import cache
from tflq.calibrate.schema import SampleCount
from tflq.datasets import Dataset, Row, Sample, TensorSpec, brackets, select
from tflq.errors import DatasetError
from tflq.inputs.checks import check_finite
from tflq.inputs.samples import make_sample
from tflq.inputs.schema import Input
from tflq.inputs.stored import RowWriter, StoredRows
from tflq.strict import did_you_mean
from tflq.training.schema import Loss
from tflq.worker import ProgressCallback

LABEL = "label"


@dataclass(frozen=True)
class DataRequest:
    """The rows of a dataset to read, and how each becomes a sample and a label."""

    section: str
    """The section of the recipe. Messages name it."""
    dataset: Dataset
    samples: SampleCount
    seed: int
    label: str
    loss: Loss
    inputs: Mapping[str, Input]


@dataclass(frozen=True)
class Examples:
    """Samples and their labels on disk."""

    stored: StoredRows
    total: int | None
    """The number of rows in the dataset; None if it is unknown until all are read."""

    def batches(self, size: int, seeds: Sequence[int] | None) -> Iterator[dict[str, np.ndarray]]:
        """Yield all rows once, as column name → array [size, ...]. The last batch may be smaller.

        The order depends only on the seeds. If they are None, it is that of the dataset.
        """
        arrays, count = self.stored.arrays(), self.stored.count
        order = np.arange(count) if seeds is None else np.random.default_rng(seeds).permutation(count)
        for start in range(0, count, size):
            indices = order[start : start + size]
            yield {name: array[indices] for name, array in arrays.items()}

    def contents(self) -> str:
        """Return the hash of the samples and labels."""
        return cache.contents(self.stored.folder)


def read_examples(
    report: ProgressCallback, request: DataRequest, specs: Sequence[TensorSpec], output: TensorSpec, folder: Path
) -> Examples:
    """Write the samples and labels into the folder. Raise DatasetError if a row does not fit the model."""
    selection = select(request.dataset, request.samples, request.seed)
    rows = request.dataset.rows(selection.indices, specs)
    with RowWriter(folder, request.section) as writer:
        for index, row in zip(selection.indices, rows, strict=False):
            writer.add(_sample(request, row, index, specs) | {LABEL: _label_of(request, row, output)})
            report(writer.count, len(selection.indices))
    if not writer.count:
        raise DatasetError(f"{request.dataset}: yields no rows, so there is nothing to train with")
    return Examples(writer.stored, selection.total)


def _sample(request: DataRequest, row: Row, index: int, specs: Sequence[TensorSpec]) -> Sample:
    sample = make_sample(row, request.inputs, specs)
    check_finite(sample, index, request.dataset)
    return sample


def _label_of(request: DataRequest, row: Row, output: TensorSpec) -> np.ndarray:
    if request.label not in row:
        hint = did_you_mean(request.label, row)
        raise DatasetError(
            f"{request.section}: the dataset has no column {request.label!r} for the label{hint}; it has"
            f" {', '.join(row)}"
        )
    return label(np.asarray(row[request.label]), request, output)


def label(value: np.ndarray, request: DataRequest, output: TensorSpec) -> np.ndarray:
    """Return the label in the dtype and shape that the loss needs: int64 class numbers, or float32 like the output.

    Raise DatasetError if it does not fit the model's output.
    """
    shape = tuple(size for size in (output.sample_shape or ()) if size is not None)
    if request.loss == "sparse_categorical_crossentropy":
        return _classes(value, request, shape)
    if value.size != np.prod(shape):
        hint = "; for class numbers, use sparse_categorical_crossentropy" if value.size == 1 else ""
        raise DatasetError(
            f"{request.section}: the label {_shown(value)} does not fit the model's output"
            f" {brackets(shape)}; {request.loss} needs one value for each{hint}"
        )
    return value.astype(np.float32).reshape(shape)


def _classes(value: np.ndarray, request: DataRequest, shape: tuple[int, ...]) -> np.ndarray:
    classes = shape[-1] if shape else 1
    if value.size != np.prod(shape[:-1]):
        hint = "; for one-hot labels, use categorical_crossentropy" if value.size == np.prod(shape) else ""
        raise DatasetError(
            f"{request.section}: the label {_shown(value)} does not fit the model's output"
            f" {brackets(shape)}; {request.loss} needs one class number for each row of classes{hint}"
        )
    if value.dtype.kind not in "biuf" or (invalid := value[(value < 0) | (value >= classes) | (value % 1 != 0)]).size:
        wrong = invalid if value.dtype.kind in "biuf" else value
        raise DatasetError(
            f"{request.section}: the label {_shown(wrong)} is not a class number from 0 to {classes - 1}"
        )
    return value.astype(np.int64).reshape(shape[:-1])


def _shown(value: np.ndarray) -> str:
    return str(value.reshape(-1)[:8].tolist())
