"""The record of one subject: its statistics for each sample, and those of channels over all samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tflq.evaluate.answers import Answers, joined
from tflq.metrics.channels import ChannelSums
from tflq.metrics.metric import padded


@dataclass(frozen=True)
class Record:
    """The statistics of one subject for each sample, in the order of the samples' indices."""

    statistics: np.ndarray
    """The metric's statistics, [samples, k]; k is 0 without a metric. Shorter rows end with NaN."""
    errors: Mapping[str, np.ndarray]
    """Output name → the rows of `metrics.errors` against the float32 file, [samples, 8]."""
    agreement: Mapping[str, np.ndarray]
    """Output name → probability that the top class is that of the float32 file, [samples]; only class outputs."""
    spread: Mapping[str, np.ndarray]
    """Output name → largest difference from the output of the plan's first call, [samples]."""
    is_finite: np.ndarray
    """Whether all outputs are finite, [samples]."""
    was_calibrated_on: np.ndarray
    """Whether the sample is also a calibration sample, [samples]."""
    channels: Mapping[str, ChannelSums] = field(default_factory=dict)
    """Output name → sums of its channels over all samples. It is empty for the source and the float32 file."""

    answers: Answers | None = None
    """What the float32 file and the subject answered; None for the source and the float32 file."""

    def at(self, places: Sequence[int]) -> Record:
        """Return the record of only the samples at those places, without answers and the sums of channels."""
        positions = list(places)
        return Record(
            self.statistics[positions],
            {name: rows[positions] for name, rows in self.errors.items()},
            {name: odds[positions] for name, odds in self.agreement.items()},
            {name: distances[positions] for name, distances in self.spread.items()},
            self.is_finite[positions],
            self.was_calibrated_on[positions],
        )


def merge(records: Sequence[Record], ranks: Sequence[Sequence[int]]) -> Record:
    """Join the records of one subject in the order of the ranks, one rank for each sample of each record."""
    order = np.argsort(np.concatenate([np.asarray(part, np.int64) for part in ranks]), kind="stable")
    non_empty = [record for record in records if len(record.is_finite)]
    if not non_empty:  # a dataset may end before the first of these samples
        return records[0]

    def join(parts: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(parts))[order]

    return Record(
        statistics=padded([record.statistics for record in non_empty])[order],
        errors={name: join(record.errors[name] for record in non_empty) for name in non_empty[0].errors},
        agreement={name: join(record.agreement[name] for record in non_empty) for name in non_empty[0].agreement},
        spread={name: join(record.spread[name] for record in non_empty) for name in non_empty[0].spread},
        is_finite=join(record.is_finite for record in non_empty),
        was_calibrated_on=join(record.was_calibrated_on for record in non_empty),
        channels=_joined_channels(non_empty),
        answers=_joined_answers(non_empty, order),
    )


def _joined_channels(records: Sequence[Record]) -> dict[str, ChannelSums]:
    joined: dict[str, ChannelSums] = {}
    for record in records:
        for name, sums in record.channels.items():
            joined[name] = joined[name].joined(sums) if name in joined else sums
    return joined


def _joined_answers(records: Sequence[Record], order: np.ndarray) -> Answers | None:
    parts = [record.answers for record in records if record.answers is not None]
    return joined(parts).ordered(order) if len(parts) == len(records) else None
