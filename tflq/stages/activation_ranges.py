"""The ranges of a float model's activations: observed from within, sharded over workers, or by TensorFlow itself."""

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
    "TensorFlow is known to die of Inf in an activation, and of Keras 3's recurrent layers where it calibrates them;"
    " dynamic and float16 need no calibration"
)
"""Where TensorFlow calibrates."""


FEWEST_COUNTED, MANY = 64, 1 << 20
"""Calls, and values of one activation over all calls, that are enough to see whether its range may leave out some."""
HoldoutSplit = tuple[Sequence[int], Sequence[int]]
"""The calls that all is fitted to, and those held back."""


@dataclass(frozen=True)
class SplitCalibration:
    """What all calls show, and what those do that all is fitted to."""

    whole: CalibrationData
    fitted: CalibrationData


@dataclass(frozen=True)
class Calibrator:
    calibration: Calibration
    folder: Path
    workers: Workers
    jobs: int

    def find(self, float32: Path, calibration_samples: CalibrationSamples, counts_few: bool = True) -> CalibrationData:
        """Observe the activations; TensorFlow's calibrator finds the ranges of what cannot be observed so.

        `counts_few`: whether values are counted, too, where the recipe's ranges need no counts: those of a few calls,
        which show what clipping would do.
        """
        graph = load(float32)
        reason = obstacle(graph)
        if reason is None:
            try:
                return CalibrationData(float32, self._observed(graph, float32, calibration_samples, counts_few))
            except EvaluationError as error:  # LiteRT's; what else goes wrong in a worker is a ConversionError
                reason = str(error)
        return self._by_tensorflow(float32, calibration_samples.samples, reason)

    def _observed(
        self, graph: Graph, float32: Path, calibration_samples: CalibrationSamples, counts_few: bool
    ) -> ActivationStatistics:
        samples = calibration_samples.samples
        tasks = [
            Task(f"observe the activations, part {part}", observe, (float32, samples, calls), ConversionError)
            for part, calls in enumerate(shards(samples.number_of_calls, self.jobs), 1)
        ]
        observation = merge(graph, self._all(tasks))
        if not observation.is_finite.all():
            arguments = (float32, calibration_samples, np.flatnonzero(~observation.is_finite).tolist())
            self.workers.run(Task("find what is not finite", refuse_infinite, arguments, ConversionError))
        if self.calibration.counting == "few" and not counts_few:
            return ActivationStatistics(observation, {})
        weight = sample_weights(observation, self.calibration.counting)
        counts = self._all(self._counting(float32, samples, weight, self._dealt(list(weight))))
        return ActivationStatistics(observation, _histograms(observation, counts))

    def counting(self, whole: CalibrationData, samples: Samples, parts: HoldoutSplit) -> list[Task[list[Counts]]]:
        """What counts the values as mse wants them, the last those of the calls that are held back.

        Of large activations not every call is counted where there are many, and one stands for several.
        """
        assert isinstance(whole.found, ActivationStatistics)
        (fitted, held), seen = parts, whole.found.observation
        weight, every = sample_weights(seen, "weighted"), _every(load(whole.model), seen.tensors, len(fitted))
        turns = np.arange(len(every))
        for place, call in enumerate(fitted):
            weight[call] = np.where((place + turns) % every == 0, every * weight[call], 0)
        return self._counting(whole.model, samples, weight, [*self._dealt(fitted), held])

    def _counting(
        self, float32: Path, samples: Samples, weight: Mapping[int, np.ndarray], shares: Sequence[Sequence[int]]
    ) -> list[Task[list[Counts]]]:
        return [
            Task(
                f"count their values, part {number}",
                count,
                (float32, samples, {call: weight[call] for call in share}),
                ConversionError,
            )
            for number, share in enumerate(shares, 1)
        ]

    def _dealt(self, calls: Sequence[int]) -> list[Sequence[int]]:
        """The calls, dealt out to as many workers as there are."""
        return [share for first in range(self.jobs) if (share := calls[first :: self.jobs])]

    def _by_tensorflow(self, float32: Path, samples: Samples, reason: str) -> CalibrationData:
        refuse_clipping(
            self.calibration.method, f"{reason}, so that TensorFlow's own calibrator has to find its ranges"
        )
        target = self.folder / "calibrated.tflite"
        arguments = (float32, samples, target)
        task = Task("calibrate with TensorFlow", conversion.calibrate, arguments, ConversionError, remedy=CRASH_REMEDY)
        found = self.workers.run(task).value
        refuse_infinite_ranges(found)
        return CalibrationData(target, found, reason)

    def _all(self, tasks: Sequence[Task[T]]) -> list[T]:
        return [outcome.get() for outcome in self.workers.run_all(tasks, self.jobs)]


def split_calibration(
    whole: CalibrationData, fitted: Sequence[int], counts: Sequence[Sequence[Counts]]
) -> SplitCalibration:
    """From what was counted of the calls that all is fitted to, and last of those that are held back."""
    assert isinstance(whole.found, ActivationStatistics)
    seen = whole.found.observation
    all_calls = ActivationStatistics(seen, _histograms(seen, counts))
    return SplitCalibration(replace(whole, found=all_calls), whole.of(fitted, _histograms(seen, counts[:-1])))


def _every(graph: Graph, tensors: Sequence[int], calls: int) -> np.ndarray:
    """One in how many of the calls is counted of each activation, [tensors]."""
    values = calls * np.array([prod(graph.subgraphs[0].tensors[index].shape) for index in tensors])
    every: np.ndarray = np.clip(np.minimum(values // MANY, calls // FEWEST_COUNTED), 1, None)
    return every


def _histograms(seen: Observation, counts: Sequence[Sequence[Counts]]) -> dict[int, Histogram]:
    """The sums over the shares, in each of which the tensors are in the same order."""
    return dict(zip(seen.tensors, map(histogram, zip(*counts, strict=True)), strict=True))


def refuse_clipping(method: Method, reason: str) -> None:
    """Raise ConversionError where more than minima and maxima is asked for, with the reason why there is no more."""
    if method != "minmax":
        raise ConversionError(f"calibration.ranges: only minmax is there for this model, since {reason}")
