"""Observation of a float model's activations, sharded over workers, with TensorFlow's calibrator as the fallback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd, prod
from pathlib import Path
from typing import TypeVar

import numpy as np

from tflq import conversion
from tflq.calibrate.calibration_data import ActivationStatistics, CalibrationData
from tflq.calibrate.data_checks import refuse_infinite, refuse_infinite_ranges
from tflq.calibrate.histogram import Counts, Histogram, count, count_values, histogram
from tflq.calibrate.loop_ranges import loop_ranges, merge_loops, observe_loops
from tflq.calibrate.observe import Observation, merge, observe, obstacle, shards
from tflq.calibrate.ranges import RangeMethod
from tflq.calibrate.sample_weights import sample_weights
from tflq.calibrate.samples import CalibrationSamples, Samples
from tflq.calibrate.schema import Calibration, Method
from tflq.errors import ConversionError, EvaluationError
from tflq.flatbuffer import Graph, mapped
from tflq.flatbuffer.loops import loops
from tflq.worker import Task, Workers

T = TypeVar("T")
CRASH_REMEDY = (
    "TensorFlow's calibrator can crash if an activation is infinite; use dynamic or float16, which need no calibration"
)
"""The advice if TensorFlow crashes while it calibrates."""


MAX_COUNTED_CALLS = 48
"""About the largest number of calls whose values are counted to compare methods of ranges."""
MIN_COUNTED_VALUES = 1 << 20
"""The least number of values of one activation, over all calls, that are counted to compare methods of ranges."""


@dataclass(frozen=True)
class CountedCalibration:
    """The calibration data of a float32 file, with counts of values for disjoint parts of the calls."""

    data: CalibrationData
    parts: tuple[tuple[int, ...], ...]
    """The calls that were counted; each may stand for several calls."""
    counts: tuple[Sequence[Counts], ...]
    """The counts of each part, in the order of the activations."""

    def for_calls(self, calls: Sequence[int]) -> CalibrationData:
        """Return the data of these calls, with the counts of the parts that lie in them.

        The extremes of every call are counted, too. Otherwise a method could leave out values that were not counted.
        """
        assert isinstance(self.data.statistics, ActivationStatistics)
        observation = self.data.statistics.observation
        chosen = [counts for part, counts in zip(self.parts, self.counts, strict=True) if {*part} <= {*calls}]
        return self.data.for_calls(calls, _histograms(observation, [*chosen, _extremes(observation, calls)]))


def _extremes(observation: Observation, calls: Sequence[int]) -> list[Counts]:
    """Return the counts of the least and the largest value of each call, for each activation."""
    by_call = sample_weights(observation, "weighted")
    weights = np.stack([by_call[call] for call in calls])
    ends = np.concatenate([observation.minima[list(calls)], observation.maxima[list(calls)]])
    return [count_values(*column) for column in zip(ends.T, np.concatenate([weights, weights]).T, strict=True)]


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
        graph = mapped(float32)
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
        inside = self._inside_loops(graph, float32, samples)
        if self.calibration.counting == "few" and not counts_few:
            return ActivationStatistics(observation, {}, inside)
        weights = sample_weights(observation, self.calibration.counting)
        counts = self._run_all(self._counting_tasks(float32, samples, weights, self.shares(list(weights))))
        return ActivationStatistics(observation, _histograms(observation, counts), inside)

    def _inside_loops(self, graph: Graph, float32: Path, samples: Samples) -> dict[int, Observation]:
        """Return the observation of each body of a WHILE."""
        tasks = [
            Task(f"observe the loops, part {part}", observe_loops, (float32, samples, calls), ConversionError)
            for part, calls in enumerate(shards(samples.number_of_calls, self.jobs), 1)
        ]
        observed = merge_loops(graph, self._run_all(tasks)) if loops(graph) else {}
        refuse_infinite_ranges(tuple(loop_ranges(graph, observed, RangeMethod("minmax", 8))))
        return observed

    def part_counting_tasks(
        self, data: CalibrationData, samples: Samples, parts: Sequence[Sequence[int]], interval: int
    ) -> list[Task[list[Counts]]]:
        """Return the tasks that count values in each part of the calls, for a comparison of methods of ranges.

        Each call stands for `interval` calls. Of large activations, a part of the values is counted, with a larger
        weight in turn.
        """
        assert isinstance(data.statistics, ActivationStatistics)
        observation = data.statistics.observation
        weights = {call: interval * each for call, each in sample_weights(observation, "weighted").items()}
        strides = _counting_strides(mapped(data.model), observation.tensors, samples.number_of_calls)
        return self._counting_tasks(data.model, samples, weights, parts, strides)

    def _counting_tasks(
        self,
        float32: Path,
        samples: Samples,
        weights: Mapping[int, np.ndarray],
        shares: Sequence[Sequence[int]],
        strides: np.ndarray | None = None,
    ) -> list[Task[list[Counts]]]:
        return [
            Task(
                f"count activation values, part {number}",
                count,
                (float32, samples, {call: weights[call] for call in share}, strides),
                ConversionError,
            )
            for number, share in enumerate(shares, 1)
        ]

    def shares(self, calls: Sequence[int]) -> list[Sequence[int]]:
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


def _counting_strides(graph: Graph, tensors: Sequence[int], calls: int) -> np.ndarray:
    """Return the distance from one counted value to the next, for each activation, int64 [tensors].

    The distance has no divisor in common with the number of channels, so that all channels are counted alike.
    """
    shapes = [graph.subgraphs[0].tensors[index].shape for index in tensors]
    strides = [max(1, calls * prod(shape) // MIN_COUNTED_VALUES) for shape in shapes]
    return np.array(
        [
            next(size for size in range(stride, 0, -1) if gcd(size, shape[-1] if shape else 1) == 1)
            for stride, shape in zip(strides, shapes, strict=True)
        ],
        np.int64,
    )


def _histograms(observation: Observation, counts: Sequence[Sequence[Counts]]) -> dict[int, Histogram]:
    """Return the sums over the shares, in each of which the tensors have the same order."""
    return dict(zip(observation.tensors, map(histogram, zip(*counts, strict=True)), strict=True))


def refuse_clipping(method: Method, reason: str) -> None:
    """Raise ConversionError with the reason if the method is not minmax, so that it may clip values."""
    if method != "minmax":
        raise ConversionError(f"calibration.ranges: this model supports only minmax, because {reason}; write minmax")
