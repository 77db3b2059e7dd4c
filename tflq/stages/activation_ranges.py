"""Observation of a float model's activations, sharded over workers, with TensorFlow's calibrator as the fallback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np

from tflq import conversion
from tflq.calibrate import (
    ActivationStatistics,
    Calibration,
    CalibrationData,
    CalibrationSamples,
    Counts,
    Histogram,
    Method,
    Observation,
    Samples,
    count,
    histogram,
    merge,
    observe,
    obstacle,
    refuse_infinite,
    refuse_infinite_ranges,
    sample_weights,
    shards,
)
from tflq.errors import ConversionError, EvaluationError
from tflq.flatbuffer import Graph, load
from tflq.worker import Task, Workers

T = TypeVar("T")
CRASH_REMEDY = (
    "TensorFlow's calibrator can crash if an activation is infinite, or if the model has recurrent layers of Keras 3;"
    " use dynamic or float16, which need no calibration"
)
"""The advice if TensorFlow crashes while it calibrates."""


MIN_COUNTED_CALLS, MIN_COUNTED_VALUES = 64, 1 << 20
"""The least number of calls, and of values of one activation over all calls, from which mse ranges are computed."""
HoldoutSplit = tuple[Sequence[int], Sequence[int]]
"""The fitting calls, to which corrections are fitted, and the hold-out calls."""


@dataclass(frozen=True)
class SplitCalibration:
    """The statistics of the activations over all calls, and over the fitting calls alone."""

    all_calls: CalibrationData
    fitting_calls: CalibrationData


@dataclass(frozen=True)
class ActivationObserver:
    """Observes the activations of float32 files in worker processes."""

    calibration: Calibration
    folder: Path
    """The folder for files of TensorFlow's calibrator."""
    workers: Workers
    jobs: int
    """The number of worker processes at a time."""

    def observe(
        self, float32: Path, calibration_samples: CalibrationSamples, counts_few: bool = True
    ) -> CalibrationData:
        """Return the statistics of all activations, or ranges by TensorFlow's calibrator if they cannot be observed.

        If the recipe's method needs no histograms, `counts_few` says whether the values of a few calls are counted all
        the same, to show the effect of clipping. Raises ConversionError if an activation is not finite.
        """
        graph = load(float32)
        reason = obstacle(graph)
        if reason is None:
            try:
                return CalibrationData(float32, self._statistics(graph, float32, calibration_samples, counts_few))
            except EvaluationError as error:  # LiteRT's; all other errors in a worker are a ConversionError
                reason = str(error)
        return self._calibrate_with_tensorflow(float32, calibration_samples.samples, reason)

    def _statistics(
        self, graph: Graph, float32: Path, calibration_samples: CalibrationSamples, counts_few: bool
    ) -> ActivationStatistics:
        samples = calibration_samples.samples
        tasks = [
            Task(f"observe the activations, part {part}", observe, (float32, samples, calls), ConversionError)
            for part, calls in enumerate(shards(samples.number_of_calls, self.jobs), 1)
        ]
        observation = merge(graph, self._run_all(tasks))
        if not observation.is_finite.all():
            arguments = (float32, calibration_samples, np.flatnonzero(~observation.is_finite).tolist())
            self.workers.run(Task("find values that are not finite", refuse_infinite, arguments, ConversionError))
        if self.calibration.counting == "few" and not counts_few:
            return ActivationStatistics(observation, {})
        weights = sample_weights(observation, self.calibration.counting)
        counts = self._run_all(self._counting_tasks(float32, samples, weights, self._shares(list(weights))))
        return ActivationStatistics(observation, _histograms(observation, counts))

    def split_counting_tasks(
        self, data: CalibrationData, samples: Samples, split: HoldoutSplit
    ) -> list[Task[list[Counts]]]:
        """Return the tasks that count values for mse ranges; the last task counts those of the hold-out calls.

        Values of large activations are counted in a part of many calls only, with a larger weight.
        """
        assert isinstance(data.statistics, ActivationStatistics)
        (fitting, holdout), observation = split, data.statistics.observation
        weights = sample_weights(observation, "weighted")
        intervals = _counting_intervals(load(data.model), observation.tensors, len(fitting))
        offsets = np.arange(len(intervals))
        for place, call in enumerate(fitting):
            weights[call] = np.where((place + offsets) % intervals == 0, intervals * weights[call], 0)
        return self._counting_tasks(data.model, samples, weights, [*self._shares(fitting), holdout])

    def _counting_tasks(
        self, float32: Path, samples: Samples, weights: Mapping[int, np.ndarray], shares: Sequence[Sequence[int]]
    ) -> list[Task[list[Counts]]]:
        return [
            Task(
                f"count activation values, part {number}",
                count,
                (float32, samples, {call: weights[call] for call in share}),
                ConversionError,
            )
            for number, share in enumerate(shares, 1)
        ]

    def _shares(self, calls: Sequence[int]) -> list[Sequence[int]]:
        """Return the calls in one share for each worker."""
        return [share for first in range(self.jobs) if (share := calls[first :: self.jobs])]

    def _calibrate_with_tensorflow(self, float32: Path, samples: Samples, reason: str) -> CalibrationData:
        refuse_clipping(self.calibration.method, f"{reason}, so TensorFlow's calibrator computes the ranges")
        target = self.folder / "calibrated.tflite"
        arguments = (float32, samples, target)
        task = Task("calibrate with TensorFlow", conversion.calibrate, arguments, ConversionError, remedy=CRASH_REMEDY)
        ranges = self.workers.run(task).value
        refuse_infinite_ranges(ranges)
        return CalibrationData(target, ranges, reason)

    def _run_all(self, tasks: Sequence[Task[T]]) -> list[T]:
        return [outcome.get() for outcome in self.workers.run_all(tasks, self.jobs)]


def split_calibration(
    data: CalibrationData, fitting: Sequence[int], counts: Sequence[Sequence[Counts]]
) -> SplitCalibration:
    """Return the statistics of both parts from the results of `split_counting_tasks`."""
    assert isinstance(data.statistics, ActivationStatistics)
    observation = data.statistics.observation
    all_calls = ActivationStatistics(observation, _histograms(observation, counts))
    return SplitCalibration(
        replace(data, statistics=all_calls), data.for_calls(fitting, _histograms(observation, counts[:-1]))
    )


def _counting_intervals(graph: Graph, tensors: Sequence[int], calls: int) -> np.ndarray:
    """Return the number of calls from one counted call to the next, for each activation, [tensors]."""
    values = calls * np.array([prod(graph.subgraphs[0].tensors[index].shape) for index in tensors])
    intervals: np.ndarray = np.clip(np.minimum(values // MIN_COUNTED_VALUES, calls // MIN_COUNTED_CALLS), 1, None)
    return intervals


def _histograms(observation: Observation, counts: Sequence[Sequence[Counts]]) -> dict[int, Histogram]:
    """Return the sums over the shares, in each of which the tensors have the same order."""
    return dict(zip(observation.tensors, map(histogram, zip(*counts, strict=True)), strict=True))


def refuse_clipping(method: Method, reason: str) -> None:
    """Raise ConversionError with the reason if the method is not minmax, so that it may clip values."""
    if method != "minmax":
        raise ConversionError(f"calibration.ranges: this model supports only minmax, because {reason}; write minmax")
