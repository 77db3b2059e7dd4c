"""Calibration samples: read once, checked before TensorFlow sees them, kept on disk for every use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.cache import digest
from tflq.calibrate.schema import Calibration
from tflq.datasets import Sample, TensorSpec, select
from tflq.errors import DatasetError
from tflq.inputs import Input, InputSummary, Stored, SummaryBuilder, Writer, check_calibration, make_sample
from tflq.sources import Prepared
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class Samples:
    """Samples on disk; any number of processes may read them."""

    stored: Stored
    specs: tuple[TensorSpec, ...]
    per_call: int

    @property
    def folder(self) -> Path:
        return self.stored.folder

    @property
    def number_of_calls(self) -> int:
        return -(-self.stored.count // self.per_call)

    def calls(self, chosen: Iterable[int]) -> Iterator[Sample]:
        """The arrays of those calls, [per_call, ...]; the last sample is repeated to fill the last call."""
        arrays = self.stored.arrays()
        for call in chosen:
            first = call * self.per_call
            rows = np.minimum(np.arange(first, first + self.per_call), self.stored.count - 1)
            yield {spec.name: spec.call(arrays[spec.name][rows]) for spec in self.specs}


@dataclass(frozen=True)
class CalibrationSamples:
    """Calibration samples, and what they are like."""

    samples: Samples
    total: int | None
    """Rows that the dataset holds; None where only reading them all would tell."""
    summaries: tuple[InputSummary, ...]
    rows: tuple[int, ...]
    """The row of the dataset that each sample is made of."""
    hashes: tuple[str, ...]
    """Of each sample's contents."""

    @property
    def digest(self) -> str:
        """Of all samples, in their order."""
        return digest(str(self.samples.per_call), *self.hashes)


def read_samples(
    report: ProgressCallback, calibration: Calibration, inputs: Mapping[str, Input], source: Prepared, folder: Path
) -> CalibrationSamples:
    """Read the samples into the folder; DatasetError where they cannot calibrate, before TensorFlow sees them."""
    chosen = select(calibration.dataset, calibration.samples, calibration.seed)
    survey, hashes = SummaryBuilder(calibration.dataset), list[str]()
    rows = calibration.dataset.rows(chosen.indices, source.inputs)
    with Writer(folder, "calibration") as writer:
        for index, row in zip(chosen.indices, rows, strict=False):
            sample = make_sample(row, inputs, source.inputs)
            survey.add(sample, index)
            writer.add(sample)
            hashes.append(fingerprint(sample))
            report(len(hashes), len(chosen.indices))
    if not hashes:
        raise DatasetError(f"{calibration.dataset}: yields no rows, so there is nothing to calibrate with")
    check_calibration(survey.summaries(), inputs)
    samples = Samples(writer.stored, source.inputs, source.batch or 1)
    return CalibrationSamples(
        samples, chosen.total, survey.summaries(), tuple(chosen.indices[: len(hashes)]), tuple(hashes)
    )


def fingerprint(sample: Sample) -> str:
    """The same for two samples of the same contents."""
    return digest(*(part for name in sorted(sample) for part in (name, sample[name].tobytes())))
