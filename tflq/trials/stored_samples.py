"""Samples as they are measured on again and again: on disk, each with its label and the float32 file's answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from pathlib import Path

import numpy as np

from tflq.cache import digest
from tflq.calibrate import fingerprint
from tflq.datasets import Sample
from tflq.errors import DatasetError
from tflq.evaluate import EvaluationPlan, Record, SampleRecorder, batches, split, stack
from tflq.interpreter import Runner
from tflq.stages.record_file import load, save
from tflq.worker import ProgressCallback

RECORD = "float32.npz"
INPUT, OUTPUT, LABEL = "input ", "output ", "label"
"""Begin the names of columns."""


@dataclass(frozen=True)
class StoredColumn:
    """Arrays of any shapes, one after the other in a file."""

    file: Path
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def arrays(self, places: Sequence[int]) -> list[np.ndarray]:
        """Those at the places."""
        stored = np.asarray(np.memmap(self.file, np.uint8, "r") if self.file.stat().st_size else np.zeros(0, np.uint8))
        sizes = [prod(shape) * np.dtype(dtype).itemsize for dtype, shape in zip(self.dtypes, self.shapes, strict=True)]
        starts = [0, *accumulate(sizes)]
        return [
            stored[starts[place] : starts[place + 1]].view(self.dtypes[place]).reshape(self.shapes[place])
            for place in places
        ]


@dataclass(frozen=True)
class StoredSamples:
    """A set of samples; any number of processes may read it."""

    folder: Path
    count: int
    columns: Mapping[str, StoredColumn]
    digest: str
    """Of the samples and their labels."""

    places: Sequence[int] | None = None
    """Those of its samples that are meant; None for all."""

    def at(self, places: Sequence[int]) -> StoredSamples:
        """The samples at those places among these alone."""
        return replace(self, places=[self._places[place] for place in places], count=len(places))

    @property
    def base(self) -> Record:
        """What the float32 file answered."""
        return load(self.folder / RECORD).at(self._places)

    @property
    def _places(self) -> Sequence[int]:
        return range(self.count) if self.places is None else self.places

    def samples(self) -> list[Sample]:
        """The inputs of each."""
        return [_of(INPUT, row) for row in self.rows()]

    def rows(self) -> list[dict[str, np.ndarray]]:
        """For each sample what each column holds of it."""
        columns = [column.arrays(self._places) for column in self.columns.values()]
        return [dict(zip(self.columns, arrays, strict=True)) for arrays in zip(*columns, strict=True)]


class _Writer:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._files: dict[str, Path] = {}
        self._seen: dict[str, list[tuple[str, tuple[int, ...]]]] = {}

    def add(self, row: Mapping[str, np.ndarray]) -> None:
        for name, array in row.items():
            file = self._files.setdefault(name, self.folder / str(len(self._files)))
            self._seen.setdefault(name, []).append((array.dtype.str, array.shape))
            with file.open("ab") as stream:
                stream.write(np.ascontiguousarray(array).tobytes())

    def columns(self) -> dict[str, StoredColumn]:
        return {
            name: StoredColumn(self._files[name], tuple(dtype for dtype, _ in seen), tuple(shape for _, shape in seen))
            for name, seen in self._seen.items()
        }


def store_samples(
    report: ProgressCallback, plan: EvaluationPlan, indices: Sequence[int], folder: Path
) -> StoredSamples:
    """The samples of those rows, put into a new folder; DatasetError where the dataset yields none."""
    run, writer, prints = Runner(plan.float32), _Writer(folder), []
    book, label = SampleRecorder(plan, run(plan.first)), plan.evaluation.label if plan.evaluation.metric else None
    for rows, samples in batches(plan, indices):
        truths = split(run(stack(samples, plan.source)), len(samples), plan.source)
        for row, sample, truth in zip(rows, samples, truths, strict=True):
            book.add(row, truth, truth)
            labelled = {LABEL: np.asarray(row[label])} if label else {}
            writer.add({**_under(INPUT, sample), **_under(OUTPUT, truth), **labelled})
            prints.append(fingerprint({**sample, **labelled}))
        report(len(prints), len(indices))
    if not prints:
        raise DatasetError(f"{plan.evaluation.dataset}: yields none of the rows that trials are to be measured on")
    save(book.record(), folder / RECORD)
    return StoredSamples(folder, len(prints), writer.columns(), digest(*prints))


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> Sample:
    return {prefix + name: array for name, array in arrays.items()}


def _of(prefix: str, row: Mapping[str, np.ndarray]) -> Sample:
    return {name.removeprefix(prefix): array for name, array in row.items() if name.startswith(prefix)}


def record(report: ProgressCallback, path: Path, stored: StoredSamples, plan: EvaluationPlan) -> Record:
    """What the file answers on those samples, beside the float32 file's answers."""
    (answers,) = records(report, path, [stored], plan)
    return answers


def records(
    report: ProgressCallback, path: Path, parts: Sequence[StoredSamples], plan: EvaluationPlan
) -> Iterator[Record]:
    """The same of the first part, then of this and the next, and so on."""
    run = Runner(path)
    book, batch, total = (
        SampleRecorder(plan, run(plan.first)),
        plan.source.batch or 1,
        sum(part.count for part in parts),
    )
    for part in parts:
        rows = part.rows()
        for start in range(0, part.count, batch):
            some = rows[start : start + batch]
            answers = split(run(stack([_of(INPUT, row) for row in some], plan.source)), len(some), plan.source)
            for row, answer in zip(some, answers, strict=True):
                book.add(_labelled(row, plan), _of(OUTPUT, row), answer)
            report(len(book.is_finite), total)
        yield book.record()


def _labelled(row: Mapping[str, np.ndarray], plan: EvaluationPlan) -> dict[str, np.ndarray]:
    label = plan.evaluation.label
    return {label: row[LABEL]} if label and LABEL in row else {}
