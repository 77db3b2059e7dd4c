"""Fit the corrections of configurations to calls, as far as that is needed, and make the candidates from them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from tflq import refine
from tflq.cache import digest
from tflq.calibrate.calibration_data import CalibrationData
from tflq.calibrate.range_selection import compute_ranges
from tflq.calibrate.ranges import Range, RangeMethod
from tflq.calibrate.samples import CalibrationSamples, Samples
from tflq.calibrate.schema import Counting, Method
from tflq.errors import ConversionError
from tflq.refine import FittedLayers, Fold, HoldoutCandidate, HoldoutSamples, ModelCorrection, RewrittenModel
from tflq.stages.activation_ranges import MAX_COUNTED_CALLS, ActivationObserver, CountedCalibration
from tflq.stages.context import RunContext
from tflq.stages.fit_tasks import Fit, LayerFitKey, PartedFit
from tflq.stages.fitted_config import LAYER_FITS, FittedConfig
from tflq.stages.refinement_work import Calls, RefinementWork
from tflq.worker import Done, Failed, Task

T = TypeVar("T")


@dataclass(frozen=True)
class ModelFitter:
    """Fits corrections in worker processes. What is fitted once is not fitted again in the same run."""

    context: RunContext
    observer: ActivationObserver
    data: CalibrationData
    """The statistics of the float32 file without any correction."""
    samples: CalibrationSamples
    folds: tuple[Fold, ...]
    max_fitting_calls: int
    """The largest number of calls that statistics and channel factors are fitted to."""

    @property
    def final_calls(self) -> Calls:
        """The calls that the kept corrections are fitted to: those of the only fold, or all calls."""
        if len(self.folds) == 1:
            return self.folds[0].fitting
        return self.all_calls

    @property
    def all_calls(self) -> Calls:
        return tuple(range(self.samples.samples.number_of_calls))

    def fit(
        self, wanted: Sequence[FittedConfig], folds: Sequence[Fold] = (), alongside: Sequence[Task[None]] = ()
    ) -> None:
        """Fit all that these configurations need, but for ranges. Raises ConversionError.

        `folds`: the float32 file runs on their hold-out calls. Without folds, nothing is compared. Tasks of `alongside`
        run at the same time; if one fails, its files are missing.
        """
        is_final = not folds
        rewritten = [each for each in wanted if each.config.rewrites_model]
        plain = [each for each in wanted if not each.config.rewrites_model]
        first, *others = refine.MODEL_CORRECTIONS
        references = self._references(folds)
        self._run([*self._statistics(wanted, is_final), *self._counts(plain), *references], alongside)
        self._run([*self._rewritings(wanted, first), *self._layer_fits(plain)])
        for correction in others:
            self._run(self._rewritings(wanted, correction))
        for model in {self.model(each): None for each in rewritten}:
            if (key := self._observed_key(model)) not in self._work.observed:
                self._work.observed[key] = self.observer.observe(model, self.samples, counts_few=False)
        self._run([*self._layer_fits(rewritten), *self._counts(rewritten), *self._compensations(plain)])
        self._run(self._compensations(rewritten))

    def fit_ranges(
        self, wanted: Sequence[FittedConfig], is_final: bool, alongside: Sequence[Task[T]] = ()
    ) -> list[Done[T] | Failed]:
        """Compute the ranges of configurations that `fit` has fitted. Raises ConversionError.

        If `is_final`, they cover all calls. Return the outcomes of `alongside`, which runs at the same time.
        """
        return self._run(self._counted_ranges(wanted, is_final), alongside)

    def model(self, fitted: FittedConfig) -> Path:
        """Return the float32 file, or what corrections of the whole model made of it."""
        return self._last(self._rewritten(fitted))

    def _last(self, rewritten: Sequence[RewrittenModel]) -> Path:
        return rewritten[-1].path if rewritten else self.data.model

    def _rewritten(self, fitted: FittedConfig, before: ModelCorrection | None = None) -> list[RewrittenModel]:
        """Return what each correction of the whole model made of the file, in turn; only of those before that one."""
        made: list[RewrittenModel] = []
        for each in takewhile(lambda each: each != before, refine.MODEL_CORRECTIONS):
            if each.key in fitted.config.corrections:
                made.append(self._work.rewritten[self._last(made), each.key, fitted.calls])
        return made

    def layers(self, fitted: FittedConfig) -> FittedLayers | None:
        """Return what was fitted to the layers; None if no layer is corrected."""
        if not fitted.needs_means:
            return None
        return self._fitted_layers(fitted, [*self._layer_fit_keys(fitted), *self._compensation_keys(fitted)])

    def _fitted_layers(self, fitted: FittedConfig, keys: Sequence[LayerFitKey]) -> FittedLayers:
        """Return the means, and the fits of these keys; the values of later ones replace those of earlier ones."""
        fits = [path for key in keys for path in self._work.layer_fits[key]]
        means = (each.means for each in self._work.statistics[fitted.calls])
        return FittedLayers((*means, *fits), self._factors(fitted))

    def _factors(self, fitted: FittedConfig) -> tuple[Path, ...]:
        return tuple(each.factors for each in self._rewritten(fitted))

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

    def _counted_ranges(self, wanted: Sequence[FittedConfig], is_final: bool) -> Iterator[Fit]:
        """Yield the computation of ranges that need counts of values."""
        counted = [(each, self.all_calls if is_final else each.covered) for each in wanted if each.config.ranges]
        keys = [(self.model(each), self._range_method(each), calls) for each, calls in counted]
        for key in dict.fromkeys(key for key in keys if key not in self._work.ranges):
            model, method, calls = key
            arguments = (self._work.counted[model].for_calls(calls), method)
            task = Task("compute ranges", compute_ranges, arguments, ConversionError)
            yield Fit([task], self._work.ranges, key, itemgetter(0))

    def candidate(self, fitted: FittedConfig) -> HoldoutCandidate:
        """Return the candidate whose ranges are those of the fitting calls, too.

        Candidates are equal if their files are: headroom, for example, may leave all ranges as they are.
        """
        request, keys, model = fitted.request, fitted.config.of_layers, self.model(fitted)
        ranges = () if request.bits == 16 else self.ranges(fitted, fitted.covered)
        folder = self.observer.folder / f"templates {digest(repr((request, model, ranges)))[:16]}"
        base = self._work.templates.setdefault((request, model), folder)
        layers = self.layers(fitted)
        return HoldoutCandidate(
            model, ranges, request.granularity, keys, layers, folder, base if base != folder else None
        )

    def holdout(self, fold: Fold) -> HoldoutSamples:
        """Return the hold-out samples of the fold; `fit` has written the outputs of the float32 file."""
        return self._work.holdout[fold.holdout]

    def _references(self, folds: Sequence[Fold]) -> list[Fit]:
        """Return the runs of the float32 file on those hold-out calls whose outputs are missing."""
        calls = [fold.holdout for fold in folds if fold.holdout not in self._work.holdout]
        return [self._reference(HoldoutSamples(self.samples.samples, each, self.new_path())) for each in calls]

    def _reference(self, holdout: HoldoutSamples) -> Fit:
        stage = "run the float32 file on hold-out samples"
        task = Task(stage, refine.run_reference, (self.data.model, holdout), ConversionError)
        return Fit([task], self._work.holdout, holdout.calls, itemgetter(0))

    def _statistics(self, wanted: Iterable[FittedConfig], is_final: bool) -> Iterator[Fit]:
        """Yield the fits of those statistics of the float32 file that were not found yet.

        Second moments are found together with the means if a configuration needs them, or one to compare later may.
        """
        needed = {each.calls: False for each in wanted if each.needs_means}
        needed |= {each.calls: True for each in wanted if each.may_need_moments(is_final)}
        for calls in sorted(needed):
            if self._is_found(calls, needed[calls]):
                continue
            kinds = "means and the second moments" if needed[calls] else "means"
            stage = f"find the {kinds} of the layers' inputs"
            fit = PartedFit(stage, refine.fit_statistics, refine.STATISTICS_PARTS)
            given = self.data.model, self._fitting_data(calls), needed[calls]
            yield Fit(fit.tasks(given, self.new_path), self._work.statistics, calls, tuple)

    def _is_found(self, calls: Calls, with_moments: bool) -> bool:
        found = self._work.statistics.get(calls)
        return found is not None and not (with_moments and any(each.moments is None for each in found))

    def _rewritings(self, wanted: Iterable[FittedConfig], correction: ModelCorrection) -> Iterator[Fit]:
        using = [each for each in wanted if correction.key in each.config.corrections]
        keys = {(self._last(self._rewritten(each, correction)), correction.key, each.calls): None for each in using}
        for key in (key for key in keys if key not in self._work.rewritten):
            model, _, calls = key
            arguments = (model, self._fitting_data(calls), self.new_path())
            task = Task(correction.stage, correction.rewrite, arguments, ConversionError)
            yield Fit([task], self._work.rewritten, key, itemgetter(0))

    def _layer_fits(self, wanted: Sequence[FittedConfig]) -> Iterator[Fit]:
        """Yield what must be fitted to the layers of models, beside their mean inputs."""
        keys = {key: each for each in reversed(wanted) for key in self._layer_fit_keys(each)}
        yield from (self._layer_fit(key, keys[key]) for key in keys if key not in self._work.layer_fits)

    def _counts(self, wanted: Sequence[FittedConfig]) -> Iterator[Fit]:
        """Yield the counts of the values of models whose ranges need them."""
        counted = dict.fromkeys(self.model(each) for each in wanted if each.config.ranges is not None)
        yield from (self._counting(model) for model in counted if model not in self._work.counted)

    def _layer_fit(self, key: LayerFitKey, fitted: FittedConfig) -> Fit:
        """Return the tasks of the key, which belongs to that configuration."""
        name, model, _, granularity = key
        layer_fit, stage = LAYER_FITS[name], f"{refine.BY_KEY[name].stage} {self._in_words(model)} file"
        fit = PartedFit(f"{stage}{granularity.in_words}", layer_fit.fit, layer_fit.parts)
        tasks = fit.tasks((model, self._moments(fitted), granularity), self.new_path)
        return Fit(tasks, self._work.layer_fits, key, tuple)

    def _moments(self, fitted: FittedConfig) -> refine.SecondMoments:
        files = tuple(each.moments for each in self._work.statistics[fitted.calls] if each.moments)
        return refine.SecondMoments(files, self._factors(fitted))

    def _compensations(self, wanted: Sequence[FittedConfig]) -> Iterator[Fit]:
        """Yield the compensation for the errors of earlier layers, after rounding."""
        keys = {key: each for each in reversed(wanted) for key in self._compensation_keys(each)}
        for key, fitted in keys.items():
            if key in self._work.layer_fits:
                continue
            _, model, calls, granularity = key
            layers = self._fitted_layers(fitted, self._layer_fit_keys(fitted))
            rounded = refine.RoundedLayers(layers, self._moments(fitted), granularity)
            given = model, self._fitting_data(calls), rounded, self.new_path()
            stage = f"compensate for the errors of earlier layers in {self._in_words(model)} file"
            task = Task(stage, refine.fit_asymmetric_calibration, given, ConversionError)
            yield Fit([task], self._work.layer_fits, key, tuple)

    def _compensation_keys(self, fitted: FittedConfig) -> list[LayerFitKey]:
        """Return the key of the compensation; none for int8 activations, whose own errors are larger."""
        name = refine.ROUNDING.key
        if name not in fitted.config.of_layers or fitted.request.bits != 16:
            return []
        return [(f"compensation after {name}", self.model(fitted), fitted.calls, fitted.request.granularity)]

    def _counting(self, model: Path) -> Fit:
        data, samples = self._work.observed.get(self._observed_key(model), self.data), self.samples.samples
        interval = -(-samples.number_of_calls // MAX_COUNTED_CALLS)
        parts = [tuple(share) for part in self._parts for share in self.observer.shares(part[::interval])]
        tasks = self.observer.part_counting_tasks(data, samples, parts, interval)
        return Fit(
            tasks, self._work.counted, model, lambda counts: CountedCalibration(data, tuple(parts), tuple(counts))
        )

    @property
    def _parts(self) -> list[Calls]:
        """Disjoint parts of the calls; the calls of each fold are unions of some of them."""
        if len(self.folds) == 1:
            return [self.folds[0].fitting, self.folds[0].holdout]
        return [fold.holdout for fold in self.folds] or [self.all_calls]

    def _layer_fit_keys(self, fitted: FittedConfig) -> list[LayerFitKey]:
        """Return the keys of all that is fitted to the layers beside their mean inputs.

        The values of later ones replace those of earlier ones.
        """
        model, keys = self.model(fitted), [key for key in fitted.config.of_layers if key in LAYER_FITS]
        granularities = fitted.request.granularity.rounding_passes
        return [(key, model, fitted.calls, granularity) for key in keys for granularity in granularities]

    def _observed_key(self, model: Path) -> tuple[Path, Counting]:
        return model, self.observer.calibration.counting

    def _fitting_data(self, calls: Calls) -> tuple[Samples, Calls]:
        """Return the samples, and at most `max_fitting_calls` of the calls, evenly spread."""
        return self.samples.samples, refine.evenly_spread(calls, self.max_fitting_calls)

    def _run(self, fits: Iterable[Fit], alongside: Sequence[Task[T]] = ()) -> list[Done[T] | Failed]:
        """Run the tasks of all fits at the same time, and store their values. Return the outcomes of `alongside`."""
        listed = list(fits)
        tasks = [*alongside, *(task for fit in listed for task in fit.tasks)]
        outcomes = iter(self.context.workers.run_all(tasks, self.context.jobs))
        first = [next(outcomes) for _ in alongside]
        for fit in listed:
            fit.results[fit.key] = fit.combine([next(outcomes).get() for _ in fit.tasks])
        return first

    def _in_words(self, model: Path) -> str:
        words = {each.key: each.participle for each in refine.MODEL_CORRECTIONS}
        made = {rewritten.path: words[key] for (_, key, _), rewritten in self._work.rewritten.items()}
        return f"the {made.get(model, 'float32')}"

    @property
    def _method(self) -> Method:
        return self.observer.calibration.method

    @property
    def _work(self) -> RefinementWork:
        return self.context.work

    def new_path(self) -> Path:
        self.observer.folder.mkdir(parents=True, exist_ok=True)
        return self.observer.folder / uuid.uuid4().hex
