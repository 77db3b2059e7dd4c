"""Calibration samples: read once, checked before TensorFlow sees them, kept on disk for every use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.cache import digest
from tflq.calibrate.section import Calibration
from tflq.datasets import Sample, TensorSpec, select
from tflq.errors import DatasetError
from tflq.inputs import Input, Summary, Survey, check_calibration, make_sample
from tflq.sources import Prepared
from tflq.worker import Report


@dataclass(frozen=True)
class Samples:
    """Samples on disk, one raw array an input; any number of processes may read them."""

    folder: Path
    count: int
    per_call: int
    arrays: tuple[tuple[TensorSpec, tuple[int, ...]], ...]
    """Each input, and the shape of one sample of it."""

    @property
    def number_of_calls(self) -> int:
        return -(-self.count // self.per_call)

    def calls(self, chosen: Iterable[int]) -> Iterator[Sample]:
        """The arrays of those calls, [per_call, ...]; the last sample is repeated to fill the last call."""
        arrays = {
            spec.name: np.memmap(self.folder / str(index), np.dtype(spec.dtype), "r", shape=(self.count, *shape))
            for index, (spec, shape) in enumerate(self.arrays)
        }
        for call in chosen:
            first = call * self.per_call
            rows = np.minimum(np.arange(first, first + self.per_call), self.count - 1)
            yield {spec.name: spec.call(arrays[spec.name][rows]) for spec, _ in self.arrays}


@dataclass(frozen=True)
class Gathered:
    """Calibration samples, and what they are like."""

    samples: Samples
    total: int | None
    """Rows that the dataset holds; None where only reading them all would tell."""
    summaries: tuple[Summary, ...]
    rows: tuple[int, ...]
    """The row of the dataset that each sample is made of."""
    hashes: tuple[str, ...]
    """Of each sample's contents."""

    @property
    def digest(self) -> str:
        """Of all samples, in their order."""
        return digest(str(self.samples.per_call), *self.hashes)


def gather(
    report: Report, calibration: Calibration, inputs: Mapping[str, Input], source: Prepared, folder: Path
) -> Gathered:
    """Read the samples into the folder; DatasetError where they cannot calibrate, before TensorFlow sees them."""
    chosen = select(calibration.dataset, calibration.samples, calibration.seed)
    survey, writer = Survey(), _Writer(folder, source)
    rows = calibration.dataset.rows(chosen.indices, source.inputs)
    for index, row in zip(chosen.indices, rows, strict=False):
        sample = make_sample(row, inputs, source.inputs)
        survey.add(sample, index)
        writer.add(sample)
        report(len(writer.hashes), len(chosen.indices))
    if not writer.hashes:
        raise DatasetError(f"{calibration.dataset}: yields no rows, so there is nothing to calibrate with")
    check_calibration(survey.summaries(), inputs)
    taken = tuple(chosen.indices[: len(writer.hashes)])
    return Gathered(writer.close(), chosen.total, survey.summaries(), taken, tuple(writer.hashes))


def fingerprint(sample: Sample) -> str:
    """The same for two samples of the same contents."""
    return digest(*(part for name in sorted(sample) for part in (name, sample[name].tobytes())))


class _Writer:
    """Appends samples to one raw file an input; their number need not be known before."""

    def __init__(self, folder: Path, source: Prepared) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.specs, self.per_call = folder, source.inputs, source.batch or 1
        self.hashes: list[str] = []
        self._files = [(folder / str(index)).open("wb") for index, _ in enumerate(self.specs)]
        self._shapes: dict[str, tuple[int, ...]] = {}

    def add(self, sample: Sample) -> None:
        for spec, file in zip(self.specs, self._files, strict=True):
            sample[spec.name].tofile(file)
            self._shapes[spec.name] = sample[spec.name].shape
        self.hashes.append(fingerprint(sample))

    def close(self) -> Samples:
        for file in self._files:
            file.close()
        arrays = tuple((spec, self._shapes[spec.name]) for spec in self.specs)
        return Samples(self.folder, len(self.hashes), self.per_call, arrays)
