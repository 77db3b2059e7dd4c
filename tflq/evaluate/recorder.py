"""Compare the outputs of a subject with those of the float32 file, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tflq.datasets import Row, Sample, brackets
from tflq.errors import EvaluationError
from tflq.evaluate.plan import EvaluationPlan, split
from tflq.evaluate.record import Record
from tflq.metrics.built_in import top_k_odds
from tflq.metrics.channels import ChannelSums, OutputRange, channel_sums, shift_of
from tflq.metrics.fidelity import errors
from tflq.metrics.metric import stacked


class SampleRecorder:
    """A recorder of the statistics of one subject, sample by sample."""

    def __init__(
        self, plan: EvaluationPlan, first: Mapping[str, np.ndarray], ranges: Mapping[str, OutputRange] | None = None
    ) -> None:
        """Make an empty recorder. `ranges`: those of the outputs; None if channels need not be compared."""
        self.evaluation = plan.evaluation
        self.output = plan.evaluation.output or plan.source.outputs[0].name
        self.first = split(first, 1, plan.source)[0]
        self.statistics: list[np.ndarray] = []
        self.errors: dict[str, list[np.ndarray]] = {}
        self.agreement: dict[str, list[float]] = {}
        self.spread: dict[str, list[float]] = {}
        self.is_finite: list[bool] = []
        self.was_calibrated_on: list[bool] = []
        self.ranges = ranges
        self.shifts = {name: shift_of(output) for name, output in self.first.items()}
        self.channels: dict[str, ChannelSums] = {}

    def add(self, row: Row, truth: Sample, answer: Sample, was_calibrated_on: bool = False) -> None:
        """Add one sample: its row, the float32 file's output `truth`, and the subject's output `answer`."""
        self.was_calibrated_on.append(was_calibrated_on)
        self.is_finite.append(all(np.isfinite(output).all() for output in answer.values()))
        for name, f in truth.items():
            q = _matching_output(f, name, answer)
            self.errors.setdefault(name, []).append(errors(f, q))
            self.spread.setdefault(name, []).append(_distance(q, self.first[name]))
            if f.ndim == 2 and f.shape[1] > 1:
                self.agreement.setdefault(name, []).append(top_k_odds(q, int(f.argmax()), 1))
            if self.ranges is not None and (sums := channel_sums(f, q, self.shifts[name], self.ranges.get(name))):
                self.channels[name] = self.channels[name].joined(sums) if name in self.channels else sums
        statistics = self.evaluation.statistics(answer, row, self.output)
        if statistics is not None:
            self.statistics.append(statistics)

    def record(self) -> Record:
        """Return the record of all samples so far."""
        return Record(
            statistics=stacked(self.statistics) if self.statistics else np.zeros((len(self.is_finite), 0)),
            errors={name: np.array(rows) for name, rows in self.errors.items()},
            agreement={name: np.array(odds) for name, odds in self.agreement.items()},
            spread={name: np.array(distances) for name, distances in self.spread.items()},
            is_finite=np.array(self.is_finite),
            was_calibrated_on=np.array(self.was_calibrated_on),
            channels=dict(self.channels),
        )


def _matching_output(reference: np.ndarray, name: str, answer: Mapping[str, np.ndarray]) -> np.ndarray:
    if name not in answer:
        raise EvaluationError(f"the file has no output {name!r}; its outputs are {', '.join(answer)}")
    if answer[name].shape != reference.shape:
        raise EvaluationError(
            f"output {name!r} is {brackets(answer[name].shape)}, but {brackets(reference.shape)} in the float32 file"
            " for the same sample, so they cannot be compared"
        )
    return answer[name]


def _distance(output: np.ndarray, other: np.ndarray) -> float:
    """Return the largest absolute difference, or infinity if the shapes differ."""
    if output.shape != other.shape:
        return math.inf
    return float(np.abs(output.astype(np.float64) - other.astype(np.float64)).max(initial=0))
