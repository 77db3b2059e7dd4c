"""The ranges of a float model's activations: observed from within, sharded over workers, or by TensorFlow itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from tflq import convert, flatbuffer
from tflq.calibrate import (
    Calibrated,
    Calibration,
    Counts,
    Gathered,
    Histogram,
    Method,
    Observed,
    Samples,
    count,
    histogram,
    merge,
    observe,
    obstacle,
    refuse_infinite,
    refuse_infinite_ranges,
    shards,
    weights,
)
from tflq.errors import ConversionError, EvaluationError
from tflq.flatbuffer import Graph
from tflq.worker import Task, Workers

T = TypeVar("T")
CRASH_REMEDY = (
    "TensorFlow is known to die of Inf in an activation, and of Keras 3's recurrent layers where it calibrates them;"
    " dynamic and float16 need no calibration"
)
"""Where TensorFlow calibrates."""


Parts = tuple[Sequence[int], Sequence[int]]
"""The calls that all is fitted to, and those held back."""


@dataclass(frozen=True)
class Parted:
    """What all calls show, and what those do that all is fitted to."""

    whole: Calibrated
    fitted: Calibrated


@dataclass(frozen=True)
class Calibrator:
    calibration: Calibration
    folder: Path
    workers: Workers
    jobs: int

    def find(self, float32: Path, gathered: Gathered) -> Calibrated:
        """Observe the activations; TensorFlow's calibrator finds the ranges of what cannot be observed so."""
        graph = flatbuffer.load(float32)
        reason = obstacle(graph)
        if reason is None:
            try:
                return Calibrated(float32, self._observed(graph, float32, gathered))
            except EvaluationError as error:  # LiteRT's; what else goes wrong in a worker is a ConversionError
                reason = str(error)
        return self._by_tensorflow(float32, gathered.samples, reason)

    def _observed(self, graph: Graph, float32: Path, gathered: Gathered) -> Observed:
        samples = gathered.samples
        tasks = [
            Task(f"observe the activations, part {part}", observe, (float32, samples, calls), ConversionError)
            for part, calls in enumerate(shards(samples.number_of_calls, self.jobs), 1)
        ]
        observation = merge(graph, self._all(tasks))
        if not observation.is_finite.all():
            arguments = (float32, gathered, np.flatnonzero(~observation.is_finite).tolist())
            self.workers.run(Task("find what is not finite", refuse_infinite, arguments, ConversionError))
        histograms = self._histograms(float32, samples, weights(observation, self.calibration.counting))
        return Observed(observation, dict(zip(observation.tensors, histograms, strict=True)))

    def parted(self, whole: Calibrated, samples: Samples, parts: Parts) -> Parted:
        """With the values of all calls, and of those alone that all is fitted to, counted as mse wants them."""
        assert isinstance(whole.found, Observed)
        (fitted, held), seen = parts, whole.found.observation
        weight = weights(seen, "weighted")
        shares = [*(fitted[first :: self.jobs] for first in range(self.jobs)), held]
        *of_fitted, of_held = self._counts(
            whole.model, samples, [{call: weight[call] for call in one} for one in shares]
        )
        of_all, of_part = (
            dict(zip(seen.tensors, map(histogram, zip(*some, strict=True)), strict=True))
            for some in ([*of_fitted, of_held], of_fitted)
        )
        return Parted(replace(whole, found=Observed(seen, of_all)), whole.of(fitted, of_part))

    def _histograms(self, float32: Path, samples: Samples, weights: Mapping[int, np.ndarray]) -> list[Histogram]:
        calls = list(weights)
        shares = [{call: weights[call] for call in calls[first :: self.jobs]} for first in range(self.jobs)]
        return [histogram(counts) for counts in zip(*self._counts(float32, samples, shares), strict=True)]

    def _counts(
        self, float32: Path, samples: Samples, shares: Sequence[Mapping[int, np.ndarray]]
    ) -> list[list[Counts]]:
        """Of each tensor, for each share of the calls that has any, which come with their weights."""
        tasks = [
            Task(f"count their values, part {number}", count, (float32, samples, share), ConversionError)
            for number, share in enumerate(shares, 1)
            if share
        ]
        return self._all(tasks)

    def _by_tensorflow(self, float32: Path, samples: Samples, reason: str) -> Calibrated:
        refuse_clipping(
            self.calibration.method, f"{reason}, so that TensorFlow's own calibrator has to find its ranges"
        )
        target = self.folder / "calibrated.tflite"
        arguments = (float32, samples, target)
        task = Task("calibrate with TensorFlow", convert.calibrate, arguments, ConversionError, remedy=CRASH_REMEDY)
        found = self.workers.run(task).value
        refuse_infinite_ranges(found)
        return Calibrated(target, found, reason)

    def _all(self, tasks: Sequence[Task[T]]) -> list[T]:
        return [outcome.get() for outcome in self.workers.run_all(tasks, self.jobs)]


def refuse_clipping(method: Method, reason: str) -> None:
    """Raise ConversionError where more than minima and maxima is asked for, with the reason why there is no more."""
    if method != "minmax":
        raise ConversionError(f"calibration.ranges: only minmax is there for this model, since {reason}")
