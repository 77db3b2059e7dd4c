"""Fit the corrections of configurations to calls, as far as that is needed, and make the candidates from them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from tflq import calibrate, refine
from tflq.cache import digest
from tflq.calibrate import CalibrationData, CalibrationSamples, Counting, Method, Range, RangeMethod, Samples
from tflq.errors import ConversionError
from tflq.refine import (
    CorrectionFlags,
    FittedLayers,
    Fold,
    HoldoutCandidate,
    HoldoutSamples,
    RefinementConfig,
    RefinementRequest,
    WeightGranularity,
)
from tflq.stages.activation_ranges import ActivationObserver, CountedCalibration
from tflq.stages.context import RunContext
from tflq.stages.refinement_work import Calls, RefinementWork
from tflq.worker import Task

MAX_FITTING_CALLS = 48
"""The largest number of calls that means and channel factors are fitted to; more calls change little."""
MAX_ROUNDING_CALLS = 48
"""The largest number of calls that GPTQ is fitted to; each has many positions."""
MAX_COUNTED_CALLS = 48
"""About the largest number of calls whose values are counted to compare methods of ranges."""


@dataclass(frozen=True)
class FittedConfig:
    """One configuration of a request, with its corrections fitted to some of the calls."""

    request: RefinementRequest
    config: RefinementConfig
    calls: Calls

    @property
    def needs_means(self) -> bool:
        return self.config.corrections != CorrectionFlags()


RoundingKey = tuple[Path, Calls, WeightGranularity]


@dataclass(frozen=True)
class _Fit:
    """Tasks, and the place where the result of all of them is stored."""

    tasks: Sequence[Task[Any]]
    results: dict[Any, Any]
    key: Any
    combine: Callable[[Sequence[Any]], Any]
    """The function from the values of the tasks to their result."""


@dataclass(frozen=True)
class ModelFitter:
    """Fits corrections in worker processes. What is fitted once is not fitted again in the same run."""

    context: RunContext
    observer: ActivationObserver
    data: CalibrationData
    """The statistics of the float32 file without any correction."""
    samples: CalibrationSamples
    folds: tuple[Fold, ...]

    @property
    def final_calls(self) -> Calls:
        """The calls that the kept corrections are fitted to: those of the only fold, or all calls."""
        if len(self.folds) == 1:
            return self.folds[0].fitting
        return self.all_calls

    @property
    def all_calls(self) -> Calls:
        return tuple(range(self.samples.samples.number_of_calls))

    def fit(self, wanted: Sequence[FittedConfig], is_final: bool = False) -> None:
        """Fit all that these configurations need. Raises ConversionError.

        `is_final`: the ranges cover all calls, and not only the fitting calls.
        """
        equalized = [each for each in wanted if each.config.equalization]
        plain = [each for each in wanted if not each.config.equalization]
        self._run([*self._means(wanted), *self._equalizations(equalized), *self._layers(plain)])
        for model in {self.model(each): None for each in equalized}:
            if (key := self._observed_key(model)) not in self._work.observed:
                self._work.observed[key] = self.observer.observe(model, self.samples, counts_few=False)
        self._run(self._layers(equalized))
        self._run(self._counted_ranges(wanted, is_final))

    def model(self, fitted: FittedConfig) -> Path:
        """Return the float32 file, or the equalized one."""
        return self._work.equalized[fitted.calls].path if fitted.config.equalization else self.data.model

    def layers(self, fitted: FittedConfig) -> FittedLayers | None:
        """Return what was fitted to the layers; None if no layer is corrected."""
        flags, work = fitted.config.corrections, self._work
        if not fitted.needs_means:
            return None
        factors = work.equalized[fitted.calls].factors if fitted.config.equalization else None
        rounded = work.rounded[self._rounding_key(fitted)] if flags.rounding else ()
        return FittedLayers(work.means[fitted.calls], factors, rounded)

    def ranges(self, fitted: FittedConfig, calls: Calls) -> tuple[Range, ...]:
        """Return the ranges over these calls; over all calls if the recipe's method is not minmax."""
        config, model, method = fitted.config, self.model(fitted), self._range_method(fitted)
        if config.ranges is not None:
            return self._work.ranges[model, method, calls]
        data = self._work.observed.get(self._observed_key(model), self.data)
        if self._method == "minmax" and len(calls) < len(self.all_calls):
            data = data.for_calls(calls)
        ranges = data.ranges(method)
        return ranges if config.headroom == "expected" else refine.scale_ranges(ranges, config.headroom)

    def _range_method(self, fitted: FittedConfig) -> RangeMethod:
        config = fitted.config
        return RangeMethod(config.ranges or self._method, fitted.request.bits, config.headroom == "expected")

    def _counted_ranges(self, wanted: Sequence[FittedConfig], is_final: bool) -> Iterator[_Fit]:
        """Yield the computation of ranges that need counts of values."""
        counted = [each for each in wanted if each.config.ranges is not None]
        keys = [
            (self.model(each), self._range_method(each), self.all_calls if is_final else each.calls) for each in counted
        ]
        for key in dict.fromkeys(key for key in keys if key not in self._work.ranges):
            model, method, calls = key
            arguments = (self._work.counted[model].for_calls(calls), method)
            task = Task("compute ranges", calibrate.compute_ranges, arguments, ConversionError)
            yield _Fit([task], self._work.ranges, key, itemgetter(0))

    def candidate(self, fitted: FittedConfig) -> HoldoutCandidate:
        """Return the candidate whose ranges are those of the fitting calls, too.

        Candidates are equal if their files are: headroom, for example, may leave all ranges as they are.
        """
        request, flags, model = fitted.request, fitted.config.corrections, self.model(fitted)
        ranges = () if request.bits == 16 else self.ranges(fitted, fitted.calls)
        key = digest(repr((request, model, ranges)))
        folder = self.observer.folder / f"templates {key[:16]}"
        return HoldoutCandidate(model, ranges, request.granularity, flags, self.layers(fitted), folder)

    def holdout(self, fold: Fold) -> HoldoutSamples:
        """Return the hold-out samples of the fold; `run_references` has written the outputs of the float32 file."""
        return self._work.holdout[fold.holdout]

    def run_references(self) -> None:
        """Run the float32 file on the hold-out calls of all folds."""
        missing = [fold for fold in self.folds if fold.holdout not in self._work.holdout]
        self._run(
            [self._reference(HoldoutSamples(self.samples.samples, each.holdout, self.new_path())) for each in missing]
        )

    def _reference(self, holdout: HoldoutSamples) -> _Fit:
        stage = "run the float32 file on hold-out samples"
        task = Task(stage, refine.run_reference, (self.data.model, holdout), ConversionError)
        return _Fit([task], self._work.holdout, holdout.calls, itemgetter(0))

    def _means(self, wanted: Iterable[FittedConfig]) -> Iterator[_Fit]:
        for calls in sorted({each.calls for each in wanted if each.needs_means} - self._work.means.keys()):
            given = self.data.model, self._fitting_data(calls, MAX_FITTING_CALLS)
            stage = "find the mean inputs of the layers, part"
            tasks = [
                Task(f"{stage} {number + 1}", refine.fit_means, (*given, (number, self.new_path())), ConversionError)
                for number in range(refine.MEAN_PARTS)
            ]
            yield _Fit(tasks, self._work.means, calls, tuple)

    def _equalizations(self, wanted: Iterable[FittedConfig]) -> Iterator[_Fit]:
        for calls in sorted({each.calls for each in wanted} - self._work.equalized.keys()):
            arguments = (self.data.model, self._fitting_data(calls, MAX_FITTING_CALLS), self.new_path())
            task = Task("equalize the channels", refine.equalize, arguments, ConversionError)
            yield _Fit([task], self._work.equalized, calls, itemgetter(0))

    def _layers(self, wanted: Sequence[FittedConfig]) -> Iterator[_Fit]:
        """Yield what must be fitted to the layers of a model, and the counts of its values if they are needed."""
        rounding = [each for each in wanted if each.config.corrections.rounding]
        yield from (
            self._rounding(key)
            for key in dict.fromkeys(map(self._rounding_key, rounding))
            if key not in self._work.rounded
        )
        counted = dict.fromkeys(self.model(each) for each in wanted if each.config.ranges is not None)
        yield from (self._counting(model) for model in counted if model not in self._work.counted)

    def _rounding(self, key: RoundingKey) -> _Fit:
        model, calls, granularity = key
        stage = f"round the weights of {self._in_words(model)} file{granularity.in_words}"
        data = self._fitting_data(calls, MAX_ROUNDING_CALLS)
        tasks = [
            Task(
                f"{stage}, part {number + 1}",
                refine.fit_rounding,
                (model, data, granularity, (number, self.new_path())),
                ConversionError,
            )
            for number in range(refine.PARTS)
        ]
        return _Fit(tasks, self._work.rounded, key, tuple)

    def _counting(self, model: Path) -> _Fit:
        data, samples = self._work.observed.get(self._observed_key(model), self.data), self.samples.samples
        interval = -(-samples.number_of_calls // MAX_COUNTED_CALLS)
        parts = [tuple(share) for part in self._parts for share in self.observer.shares(part[::interval])]
        tasks = self.observer.part_counting_tasks(data, samples, parts, interval)
        return _Fit(
            tasks, self._work.counted, model, lambda counts: CountedCalibration(data, tuple(parts), tuple(counts))
        )

    @property
    def _parts(self) -> list[Calls]:
        """Disjoint parts of the calls; the calls of each fold are unions of some of them."""
        if len(self.folds) == 1:
            return [self.folds[0].fitting, self.folds[0].holdout]
        return [fold.holdout for fold in self.folds] or [self.all_calls]

    def _rounding_key(self, fitted: FittedConfig) -> RoundingKey:
        return self.model(fitted), fitted.calls, fitted.request.granularity

    def _observed_key(self, model: Path) -> tuple[Path, Counting]:
        return model, self.observer.calibration.counting

    def _fitting_data(self, calls: Calls, most: int) -> tuple[Samples, Calls]:
        """Return the samples, and at most that number of the calls, evenly spread."""
        return self.samples.samples, calls[:: -(-len(calls) // most)]

    def _run(self, fits: Iterable[_Fit]) -> None:
        """Run the tasks of all fits at the same time, and store their values."""
        listed = list(fits)
        outcomes = iter(self.context.workers.run_all([task for fit in listed for task in fit.tasks], self.context.jobs))
        for fit in listed:
            fit.results[fit.key] = fit.combine([next(outcomes).get() for _ in fit.tasks])

    def _in_words(self, model: Path) -> str:
        return "the float32" if model == self.data.model else "the equalized"

    @property
    def _method(self) -> Method:
        return self.observer.calibration.method

    @property
    def _work(self) -> RefinementWork:
        return self.context.work

    def new_path(self) -> Path:
        self.observer.folder.mkdir(parents=True, exist_ok=True)
        return self.observer.folder / uuid.uuid4().hex
