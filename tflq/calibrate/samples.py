"""Read the calibration samples once, check them before TensorFlow sees them, and store them on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tflq.cache import digest
from tflq.calibrate.schema import Calibration
from tflq.datasets import Sample, TensorSpec, select
from tflq.errors import DatasetError
from tflq.inputs.checks import InputSummary, SummaryBuilder, check_calibration
from tflq.inputs.samples import make_sample
from tflq.inputs.schema import Input
from tflq.inputs.stored import RowWriter, StoredRows
from tflq.sources.prepared import PreparedSource
from tflq.worker import ProgressCallback

KEPT_CALLS = 4
"""The number of calls whose samples are cached. On these, later runs compare the activations of their files."""


@dataclass(frozen=True)
class Samples:
    """Samples on disk. Several processes may read them at a time."""

    stored: StoredRows
    specs: tuple[TensorSpec, ...]
    per_call: int
    """The number of samples in one call of the model."""

    @property
    def folder(self) -> Path:
        return self.stored.folder

    @property
    def number_of_calls(self) -> int:
        return -(-self.stored.count // self.per_call)

    def first(self, calls: int) -> Samples:
        """Return the samples of the first calls, at most that many."""
        return replace(self, stored=replace(self.stored, count=min(self.stored.count, calls * self.per_call)))

    def calls(self, indices: Iterable[int]) -> Iterator[Sample]:
        """Yield the arrays of those calls, [per_call, ...]. The last sample is repeated to fill the last call."""
        arrays = self.stored.arrays()
        for call in indices:
            first = call * self.per_call
            rows = np.minimum(np.arange(first, first + self.per_call), self.stored.count - 1)
            yield {spec.name: spec.call(arrays[spec.name][rows]) for spec in self.specs}


@dataclass(frozen=True)
class CalibrationSamples:
    """The calibration samples, with a summary of each input."""

    samples: Samples
    total: int | None
    """The number of rows of the dataset. None if it is only known after all rows are read."""
    summaries: tuple[InputSummary, ...]
    rows: tuple[int, ...]
    """The index of the dataset row of each sample."""
    hashes: tuple[str, ...]
    """The fingerprint of each sample."""

    @property
    def digest(self) -> str:
        """The digest of all samples, in their order."""
        return digest(str(self.samples.per_call), *self.hashes)


def read_samples(
    report: ProgressCallback,
    calibration: Calibration,
    inputs: Mapping[str, Input],
    source: PreparedSource,
    folder: Path,
) -> CalibrationSamples:
    """Read the samples into the folder. DatasetError if they cannot be read or used for calibration."""
    selection = select(calibration.dataset, calibration.samples, calibration.seed)
    summary, hashes = SummaryBuilder(calibration.dataset), list[str]()
    rows = calibration.dataset.rows(selection.indices, source.inputs)
    with RowWriter(folder, "calibration") as writer:
        for index, row in zip(selection.indices, rows, strict=False):
            sample = make_sample(row, inputs, source.inputs)
            summary.add(sample, index)
            writer.add(sample)
            hashes.append(fingerprint(sample))
            report(len(hashes), len(selection.indices))
    if not hashes:
        raise DatasetError(f"{calibration.dataset}: yields no rows, so there is nothing to calibrate with")
    check_calibration(summary.summaries(), inputs)
    samples = Samples(writer.stored, source.inputs, source.batch or 1)
    used_rows = tuple(selection.indices[: len(hashes)])
    return CalibrationSamples(samples, selection.total, summary.summaries(), used_rows, tuple(hashes))


def fingerprint(sample: Sample) -> str:
    """Return a digest of the values of all inputs. Samples with the same values have the same fingerprint."""
    return digest(*(part for name in sorted(sample) for part in (name, sample[name].tobytes())))
