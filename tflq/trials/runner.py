"""Where trials are made: the float32 file, ranges and samples of one recipe, each made once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from tflq import cache, calibrate, stages
from tflq.cache import digest
from tflq.calibrate import CalibrationData, CalibrationSamples, Method, Percentile, Ranges
from tflq.errors import ConversionError, DatasetError, RecipeError, TflqError
from tflq.evaluate import EvaluationPlan
from tflq.flatbuffer import Graph, load
from tflq.modes import Int8, Int16x8, Mode
from tflq.pipeline import Settings
from tflq.recipe import Gates, Recipe, check_source
from tflq.refine import RefinementConfig
from tflq.refine import RefinementRequest as RefinementRequest
from tflq.stages import CalibrationResult, ConvertibleSource, RecipeCache, RunContext, VariantBuild, conversion_task
from tflq.stages.recipe_cache import versions
from tflq.trials.constraints import Constraint, constraints
from tflq.trials.cost_model import multiply_adds
from tflq.trials.journal import Journal
from tflq.trials.measurements import Measurements
from tflq.trials.splits import Splits, choose_splits
from tflq.trials.stored_samples import store_samples
from tflq.trials.trial import (
    CONFIRMATION,
    MIN_RANKING_SAMPLES,
    RANKING,
    SELECTION,
    SampleSet,
    Trial,
    TrialEvaluation,
    TrialResult,
    run_trial,
    spread,
)
from tflq.worker import Done, Event, Failed, Said, Task, Workers, preload_tensorflow

JOURNAL, LOG = "trials.jsonl", "trials.log"
TRY = "try"
"""Begins the names of the stages that are trials."""
MAX_SAMPLES = 500
"""Samples to decide on."""
MAX_WORK = 15e9
"""Multiply-adds of int8 that the samples of one trial may take, in all."""


class BudgetExhausted(Exception):
    """No further trial may be made."""


@dataclass(frozen=True)
class TrialLimits:
    """What all trials together may take; None for any number."""

    trials: int | None = None
    seconds: float | None = None
    gates: Gates | None = None
    """What fails these beyond hope on a few samples is not measured on the others that decide."""


@dataclass(frozen=True)
class TrialRunner:
    recipe: Recipe
    """As trials are made of it: with fewer calibration samples than asked for where some were held back."""
    splits: Splits
    float32: Path
    context: RunContext
    source: ConvertibleSource
    judging: dict[SampleSet, TrialEvaluation]
    limits: TrialLimits
    constraints: tuple[Constraint, ...]
    """Those of the limits' gates."""
    journal: Journal
    identity: str
    """Of all that decides what trials find, the trials themselves apart."""
    calibration_samples: CalibrationSamples
    tried: dict[SampleSet, dict[str, TrialResult]] = field(
        default_factory=lambda: {RANKING: {}, SELECTION: {}, CONFIRMATION: {}}
    )
    """What was asked for since this bench stands, in that order."""
    _observed: dict[str, CalibrationData] = field(default_factory=dict)
    _chosen: dict[str, CalibrationResult] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    @property
    def graph(self) -> Graph:
        """The float32 file's."""
        return load(self.float32)

    @property
    def is_observed(self) -> bool:
        """Whether the activations were observed from within, so that other ranges than minmax can be had."""
        assert self.recipe.calibration is not None
        chosen = self.calibration_result(self.recipe.calibration.ranges).selected_ranges
        return chosen is not None and chosen.observation_obstacle is None

    def run(self, trials: Sequence[Trial], on: SampleSet = SELECTION) -> list[TrialResult]:
        """What each trial yields, in their order; raises Spent where the limits do not let all of them be made.

        None that was made is lost then: each is in `tried`, and in the journal. The limits are those of deciding; what
        confirms it comes on top.
        """
        keys, known = [self._key(trial, on) for trial in trials], self.tried[on]
        new = {key: trial for key, trial in zip(keys, trials, strict=True) if key not in known}
        is_free = on == CONFIRMATION or self.limits.trials is None
        left = len(new) if is_free else max((self.limits.trials or 0) - self.count, 0)
        made = self._made(dict(islice(new.items(), left)), on)
        known.update({key: made[key] for key in new if key in made})
        if any(key not in known for key in keys):
            raise BudgetExhausted
        return [known[key] for key in keys]

    @property
    def count(self) -> int:
        """Of the trials that the limits are about."""
        return len(self.tried[RANKING]) + len(self.tried[SELECTION])

    def known(self, trial: Trial) -> TrialResult | None:
        """What the trial yielded on the deciding samples, if it was made since this bench stands."""
        return self.tried[SELECTION].get(self._key(trial, SELECTION))

    def _made(self, trials: dict[str, Trial], on: SampleSet) -> dict[str, TrialResult]:
        """Those that the limits allow."""
        found = {key: tried for key in trials if (tried := self.journal.get(key))}
        missing = [key for key in trials if key not in found]
        ranged = [one for key in missing if (one := trials[key]).variant.needs_ranges]
        for method in {_told(one.ranges): one.ranges for one in ranged}.values():
            self.calibration_result(method, [one.variant for one in ranged if one.ranges == method])
        refused = {key: error for key in missing if (error := self._refusal(trials[key]))}
        found.update({key: TrialResult(trials[key], None, error) for key, error in refused.items()})
        missing = [key for key in missing if key not in refused]
        tasks = (self._task(key, trials[key], on) for key in missing if on == CONFIRMATION or not self._is_late)
        for place, outcome in self.context.workers.as_done(tasks, self.context.jobs):
            key = missing[place]
            found[key] = _tried(trials[key], outcome)
            if not (isinstance(outcome, Failed) and outcome.error.may_pass):
                self.journal.add(key, found[key])
        return found

    def _refusal(self, trial: Trial) -> str:
        """Why there is nothing to quantize for it, if so."""
        if not trial.variant.needs_ranges:
            return ""
        refined = self.calibration_result(trial.ranges).refined.get(RefinementRequest.by(trial.variant))
        return str(refined) if isinstance(refined, TflqError) else ""

    def decided(self, variant: Mode) -> Trial:
        """What the recipe has the variant be, what is left to be seen as calibration samples held back have it."""
        asked = self.recipe.calibration
        assert asked is not None
        trial = Trial(variant, asked.method)
        if not variant.needs_ranges:
            return trial
        refined = self.calibration_result(asked.ranges, [variant]).refined.get(RefinementRequest.by(variant))
        if isinstance(refined, TflqError):
            return trial
        kept = refined.refinement.config if refined else RefinementConfig()
        return Trial(variant.model_copy(update=kept.options), "mse" if kept.mse else trial.ranges)

    @property
    def _is_late(self) -> bool:
        return self.limits.seconds is not None and time.monotonic() - self._started > self.limits.seconds

    def _task(self, key: str, trial: Trial, on: SampleSet) -> Task[Measurements]:
        build = VariantBuild(trial.variant, key[:16])
        calibration_result = self.calibration_result(trial.ranges) if trial.variant.needs_ranges else None
        make = conversion_task(self.context, self.source, calibration_result, build)
        arguments = (make, trial.variant, self.context.path(build), self.judging[on])
        verb = "confirm" if on == CONFIRMATION else TRY
        return Task(f"{verb} {trial.in_words} ({key[:6]})", run_trial, arguments, make.error, make.remedy)

    def _key(self, trial: Trial, on: SampleSet) -> str:
        variant = trial.variant.model_dump_json(exclude={"name"})
        of_ranges = [self.calibration_samples.digest, _told(trial.ranges)] if trial.variant.needs_ranges else []
        constraints = [str(constraint) for constraint in self.judging[on].constraints]
        return digest(self.identity, on, self.judging[on].stored.digest, variant, *of_ranges, *constraints)

    def calibration_result(self, ranges: Ranges, variants: Sequence[Mode] = ()) -> CalibrationResult:
        """The ranges by what the recipe may ask for, and what those variants are quantized from; made once."""
        told, context = _told(ranges), _calibrated_by(self.context, "ranges", ranges)
        if told not in self._chosen:
            counting = context.calibration.counting
            if counting not in self._observed:
                self._observed[counting] = stages.observe(context, self.calibration_samples)
            self._chosen[told] = stages.select_ranges(context, self._observed[counting], self.calibration_samples)
        if new := [one for one in variants if RefinementRequest.by(one) not in self._chosen[told].refined]:
            self._chosen[told] = stages.refine_models(context, self._chosen[told], new)
        return self._chosen[told]

    def observed(self, method: Method) -> CalibrationData:
        """What those ranges are taken from."""
        self.calibration_result(method)
        context = _calibrated_by(self.context, "ranges", method)
        return self._observed[context.calibration.counting]


def _told(ranges: Ranges) -> str:
    return f"percentile {ranges.percentile!r}" if isinstance(ranges, Percentile) else ranges


def _tried(trial: Trial, outcome: Done[Measurements] | Failed) -> TrialResult:
    return (
        TrialResult(trial, None, str(outcome.error))
        if isinstance(outcome, Failed)
        else TrialResult(trial, outcome.value)
    )


def _calibrated_by(context: RunContext, key: str, value: Ranges | int) -> RunContext:
    """The same, but for that key of the recipe's calibration."""
    calibration = context.calibration.model_copy(update={key: value})
    recipe = context.recipe.model_copy(update={"calibration": calibration})
    return replace(context, recipe=recipe, cache=context.cache.for_recipe(recipe))


def is_trial(event: Event) -> bool:
    """Whether the event is of a single trial that decides or ranks."""
    return not isinstance(event, Said) and event.stage.startswith(f"{TRY} ")


@contextmanager
def open_trials(recipe: Recipe, settings: Settings, limits: TrialLimits = TrialLimits()) -> Iterator[TrialRunner]:
    """A bench of that recipe; the journal and the log are kept in its output folder.

    Raises SourceError, DatasetError or ConversionError where there is nothing to try or to measure.
    """
    if recipe.calibration is None:
        raise RecipeError(f"{recipe.name}: trials quantize from ranges: give calibration, with a dataset")
    check_source(recipe)
    preload_tensorflow()
    with cache.workspace(recipe.output) as folder:
        log = recipe.output / LOG
        log.unlink(missing_ok=True)
        with Workers(log, settings.timeout, settings.listen, settings.budget) as workers:
            recipe_cache = RecipeCache(recipe, settings.store if recipe.keeps else None)
            yield _prepared(RunContext(_bare(recipe), folder, workers, settings.jobs, recipe_cache), limits)


def _bare(recipe: Recipe) -> Recipe:
    """The recipe with a variant of each width of activations, which is what ranges are chosen for."""
    ops = recipe.base.model_dump(include={"allow_custom_ops", "select_tf_ops"})
    return recipe.model_copy(update={"variants": (Int8(**ops), Int16x8(**ops))})


def _prepared(context: RunContext, limits: TrialLimits) -> TrialRunner:
    source, run = stages.prepare_source(context), context.workers.run
    prepared_run = stages.prepare_inputs(context, source, makes_variants=False)
    float32 = prepared_run.float32.path
    _refuse(context, source)
    most = len(spread(MAX_SAMPLES, MAX_WORK / multiply_adds(load(float32))))
    splits = run(Task("choose the samples", choose_splits, (context.recipe, most), DatasetError)).value
    if splits.calibration_samples is not None:
        context = _calibrated_by(context, "samples", splits.calibration_samples)
    recipe = context.recipe
    arguments = (recipe.calibration, recipe.inputs, source.prepared, context.folder / "calibration")
    calibration_samples = run(Task("read the calibration data", calibrate.read_samples, arguments, DatasetError)).value
    plan = stages.evaluation_plan(context, source.prepared, prepared_run)
    wanted = constraints(limits.gates, load(float32).size_bytes) if limits.gates else ()
    scoring = recipe.measured_on.model_dump_json(include={"label", "output", "metric"})
    return TrialRunner(
        recipe=recipe,
        splits=splits,
        float32=float32,
        context=context,
        source=source,
        judging=_judging(context, plan, splits, wanted),
        constraints=wanted,
        limits=limits,
        journal=Journal(recipe.output / JOURNAL),
        identity=digest(versions(), cache.sha256(float32), scoring),
        calibration_samples=calibration_samples,
    )


def _refuse(context: RunContext, source: ConvertibleSource) -> None:
    if source.missing_api:
        raise ConversionError(f"trials quantize by what this TensorFlow lacks: {source.missing_api}")
    if context.has_own_ranges:
        raise ConversionError(
            f"{context.recipe.model.path}: holds fake quantization, and with it its own ranges. There is nothing to"
            " try: tflq convert makes its files"
        )


def _judging(
    context: RunContext, plan: EvaluationPlan, splits: Splits, constraints: tuple[Constraint, ...]
) -> dict[SampleSet, TrialEvaluation]:
    rows = {SELECTION: splits.selection, CONFIRMATION: splits.confirmation}
    tasks = [
        Task(f"hold the {name} samples", store_samples, (plan, indices, context.folder / name), DatasetError)
        for name, indices in rows.items()
    ]
    stored = [outcome.get() for outcome in context.workers.run_all(tasks, context.jobs)]
    selection, confirmation = stored
    return {
        RANKING: TrialEvaluation(plan, selection.at(spread(selection.count, MIN_RANKING_SAMPLES)), 0.0, ()),
        SELECTION: TrialEvaluation(plan, selection, MAX_WORK, constraints),
        CONFIRMATION: TrialEvaluation(plan, confirmation, math.inf, ()),
    }
