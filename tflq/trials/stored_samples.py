"""Samples stored on disk, each with its label and the float32 file's outputs, so that every trial can reuse them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from pathlib import Path

import numpy as np

from tflq.cache import digest
from tflq.calibrate.samples import fingerprint
from tflq.datasets import Sample
from tflq.errors import DatasetError
from tflq.evaluate.measuring import batches, output_ranges
from tflq.evaluate.plan import EvaluationPlan, split, stack
from tflq.evaluate.record import Record
from tflq.evaluate.recorder import SampleRecorder
from tflq.interpreter import Runner
from tflq.stages.record_file import load, save
from tflq.worker import ProgressCallback

RECORD = "float32.npz"
INPUT, OUTPUT, LABEL = "input ", "output ", "label "
"""Prefixes of column names."""


@dataclass(frozen=True)
class StoredColumn:
    """Arrays of any shapes, stored one after the other in a file."""

    file: Path
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def arrays(self, places: Sequence[int]) -> list[np.ndarray]:
        """Return the arrays at those places."""
        stored = np.asarray(np.memmap(self.file, np.uint8, "r") if self.file.stat().st_size else np.zeros(0, np.uint8))
        sizes = [prod(shape) * np.dtype(dtype).itemsize for dtype, shape in zip(self.dtypes, self.shapes, strict=True)]
        starts = [0, *accumulate(sizes)]
        return [
            stored[starts[place] : starts[place + 1]].view(self.dtypes[place]).reshape(self.shapes[place])
            for place in places
        ]


@dataclass(frozen=True)
class StoredSamples:
    """A set of samples in a folder. Any number of processes may read it."""

    folder: Path
    count: int
    columns: Mapping[str, StoredColumn]
    digest: str
    """The digest of the samples and their labels."""

    places: Sequence[int] | None = None
    """The places of the samples in use; None for all."""

    def at(self, places: Sequence[int]) -> StoredSamples:
        """Return the subset at those places among these samples."""
        return replace(self, places=[self._places[place] for place in places], count=len(places))

    @property
    def base(self) -> Record:
        """The record of the float32 file on these samples."""
        return load(self.folder / RECORD).at(self._places)

    @property
    def _places(self) -> Sequence[int]:
        return range(self.count) if self.places is None else self.places

    def samples(self) -> list[Sample]:
        """Return the input arrays of each sample."""
        return [_strip_prefix(INPUT, row) for row in self.rows()]

    def rows(self) -> list[dict[str, np.ndarray]]:
        """Return the arrays of each sample, by column name."""
        columns = [column.arrays(self._places) for column in self.columns.values()]
        return [dict(zip(self.columns, arrays, strict=True)) for arrays in zip(*columns, strict=True)]


class _Writer:
    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # of a task that began in a process which it must not share
        folder.mkdir(parents=True)
        self.folder = folder
        self._files: dict[str, Path] = {}
        self._arrays: dict[str, list[tuple[str, tuple[int, ...]]]] = {}

    def add(self, row: Mapping[str, np.ndarray]) -> None:
        for name, array in row.items():
            file = self._files.setdefault(name, self.folder / str(len(self._files)))
            self._arrays.setdefault(name, []).append((array.dtype.str, array.shape))
            with file.open("ab") as stream:
                stream.write(np.ascontiguousarray(array).tobytes())

    def columns(self) -> dict[str, StoredColumn]:
        return {
            name: StoredColumn(
                self._files[name], tuple(dtype for dtype, _ in arrays), tuple(shape for _, shape in arrays)
            )
            for name, arrays in self._arrays.items()
        }


def store_samples(
    report: ProgressCallback, plan: EvaluationPlan, indices: Sequence[int], folder: Path
) -> StoredSamples:
    """Store the samples of those rows in a new folder. Raise DatasetError if the dataset yields none."""
    run, writer, digests = Runner(plan.float32), _Writer(folder), []
    recorder, columns = SampleRecorder(plan, run(plan.first)), plan.evaluation.columns.values()
    for rows, samples in batches(plan, indices):
        truths = split(run(stack(samples, plan.source)), len(samples), plan.source)
        for row, sample, truth in zip(rows, samples, truths, strict=True):
            recorder.add(row, truth, truth)
            labelled = {LABEL + column: np.asarray(row[column]) for column in columns}
            writer.add({**_add_prefix(INPUT, sample), **_add_prefix(OUTPUT, truth), **labelled})
            digests.append(fingerprint({**sample, **labelled}))
        report(len(digests), len(indices))
    if not digests:
        raise DatasetError(f"{plan.evaluation.dataset}: yields none of the rows that trials need: check the dataset")
    save(recorder.record(), folder / RECORD)
    return StoredSamples(folder, len(digests), writer.columns(), digest(*digests))


def _add_prefix(prefix: str, arrays: Mapping[str, np.ndarray]) -> Sample:
    return {prefix + name: array for name, array in arrays.items()}


def _strip_prefix(prefix: str, row: Mapping[str, np.ndarray]) -> Sample:
    return {name.removeprefix(prefix): array for name, array in row.items() if name.startswith(prefix)}


def record(report: ProgressCallback, path: Path, stored: StoredSamples, plan: EvaluationPlan) -> Record:
    """Run the file on the samples, and record its outputs against those of the float32 file."""
    (whole,) = records(report, path, [stored], plan)
    return whole


def records(
    report: ProgressCallback, path: Path, parts: Sequence[StoredSamples], plan: EvaluationPlan
) -> Iterator[Record]:
    """Run the file on each part in turn, and yield after each part the record of all parts so far."""
    run = Runner(path)
    recorder, batch, total = (
        SampleRecorder(plan, run(plan.first), output_ranges(path)),
        plan.source.batch or 1,
        sum(part.count for part in parts),
    )
    for part in parts:
        rows = part.rows()
        for start in range(0, part.count, batch):
            chunk = rows[start : start + batch]
            answers = split(
                run(stack([_strip_prefix(INPUT, row) for row in chunk], plan.source)), len(chunk), plan.source
            )
            for row, answer in zip(chunk, answers, strict=True):
                recorder.add(_strip_prefix(LABEL, row), _strip_prefix(OUTPUT, row), answer)
            report(len(recorder.is_finite), total)
        yield recorder.record()
