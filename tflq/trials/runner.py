"""Run trials of one recipe. The float32 file, the ranges and the samples are made once, for all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from tflq import stages
from tflq.cache import digest
from tflq.calibrate.calibration_data import CalibrationData
from tflq.calibrate.samples import CalibrationSamples
from tflq.calibrate.schema import Method, Percentile, Ranges
from tflq.errors import TflqError
from tflq.flatbuffer import Graph, load
from tflq.modes import Mode
from tflq.recipe import Gates, Recipe
from tflq.refine import RefinementConfig
from tflq.refine import RefinementRequest as RefinementRequest
from tflq.stages import CalibrationResult, ConvertibleSource, RunContext, VariantBuild, conversion_task
from tflq.trials.constraints import Constraint
from tflq.trials.journal import Journal
from tflq.trials.measurements import Measurements
from tflq.trials.splits import Splits
from tflq.trials.trial import (
    CONFIRMATION,
    RANKING,
    SELECTION,
    SampleSet,
    Trial,
    TrialEvaluation,
    TrialResult,
    run_trial,
)
from tflq.worker import Done, Event, Failed, LogText, Task

TRY = "try"
"""The first word in the stage name of a trial."""


class BudgetExhausted(Exception):
    """The limits allow no further trial."""


@dataclass(frozen=True)
class TrialLimits:
    """Limits on all trials together; None for no limit."""

    trials: int | None = None
    seconds: float | None = None
    gates: Gates | None = None
    """A file that clearly fails these after a few samples is not measured on more selection samples."""


NO_LIMITS = TrialLimits()


@dataclass(frozen=True)
class TrialRunner:
    """A runner of the trials of one recipe. It keeps their results in memory and in the journal."""

    recipe: Recipe
    """The recipe of the trials. If calibration rows are held out, it has fewer calibration samples."""
    splits: Splits
    float32: Path
    context: RunContext
    source: ConvertibleSource
    evaluations: dict[SampleSet, TrialEvaluation]
    limits: TrialLimits
    constraints: tuple[Constraint, ...]
    """The constraints for the gates of the limits."""
    journal: Journal
    identity: str
    """A digest of all inputs that the trials have in common."""
    calibration_samples: CalibrationSamples
    results: dict[SampleSet, dict[str, TrialResult]] = field(
        default_factory=lambda: {RANKING: {}, SELECTION: {}, CONFIRMATION: {}}
    )
    """The results that this runner returned, in the order of the requests."""
    _observations: dict[str, CalibrationData] = field(default_factory=dict)
    _calibrations: dict[str, CalibrationResult] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    @property
    def graph(self) -> Graph:
        """The graph of the float32 file."""
        return load(self.float32)

    @property
    def is_observed(self) -> bool:
        """Whether the activations were observed in the float32 model, which methods other than minmax need."""
        assert self.recipe.calibration is not None
        selected = self.calibration_result(self.recipe.calibration.ranges).selected_ranges
        return selected is not None and selected.observation_obstacle is None

    def run(self, trials: Sequence[Trial], on: SampleSet = SELECTION, reserve: int = 0) -> list[TrialResult]:
        """Return the result of each trial, in their order.

        Raise BudgetExhausted if the limits do not allow all of them. The results of those that ran stay in `results`
        and in the journal. Trials on the confirmation samples do not count toward the limits. `reserve`: how many
        trials of the limit are left for later.
        """
        keys, results = [self._key(trial, on) for trial in trials], self.results[on]
        new = {key: trial for key, trial in zip(keys, trials, strict=True) if key not in results}
        is_free = on == CONFIRMATION or self.limits.trials is None
        left = len(new) if is_free else max((self.limits.trials or 0) - reserve - self.count, 0)
        finished = self._run_new(dict(islice(new.items(), left)), on)
        results.update({key: finished[key] for key in new if key in finished})
        if any(key not in results for key in keys):
            raise BudgetExhausted
        return [results[key] for key in keys]

    @property
    def count(self) -> int:
        """Number of trials that count toward the limits."""
        return len(self.results[RANKING]) + len(self.results[SELECTION])

    def selection_result(self, trial: Trial) -> TrialResult | None:
        """Return the result of the trial on the selection samples, or None if this runner has none."""
        return self.results[SELECTION].get(self._key(trial, SELECTION))

    def _run_new(self, trials: dict[str, Trial], on: SampleSet) -> dict[str, TrialResult]:
        """Return results from the journal or from new runs. Once the time limit has passed, no new trial begins."""
        journal = {key: result for key in trials if (result := self.journal.get(key))}
        results = {key: replace(result, trial=trials[key]) for key, result in journal.items()}
        missing = [key for key in trials if key not in results]
        ranged = [trial for key in missing if (trial := trials[key]).variant.needs_ranges]
        for method in {_method_name(trial.ranges): trial.ranges for trial in ranged}.values():
            self.calibration_result(method, [trial.variant for trial in ranged if trial.ranges == method])
        obstacles = {key: obstacle for key in missing if (obstacle := self._obstacle(trials[key]))}
        results.update({key: TrialResult(trials[key], None, obstacle) for key, obstacle in obstacles.items()})
        missing = [key for key in missing if key not in obstacles]
        tasks = (self._task(key, trials[key], on) for key in missing if on == CONFIRMATION or not self._is_late)
        for place, outcome in self.context.workers.as_done(tasks, self.context.jobs):
            key = missing[place]
            results[key] = _to_result(trials[key], outcome)
            if not (isinstance(outcome, Failed) and outcome.error.may_pass):
                self.journal.add(key, results[key])
        return results

    def _obstacle(self, trial: Trial) -> str:
        """Return why the trial has no model to quantize, or an empty string."""
        if not trial.variant.needs_ranges:
            return ""
        refined = self.calibration_result(trial.ranges).refined.get(RefinementRequest.by(trial.variant))
        return str(refined) if isinstance(refined, TflqError) else ""

    def resolve_auto(self, variant: Mode) -> Trial:
        """Return the variant as a trial. Options at `auto` get the values that the hold-out samples decide."""
        calibration = self.recipe.calibration
        assert calibration is not None
        trial = Trial(variant, calibration.method)
        if not variant.needs_ranges:
            return trial
        refined = self.calibration_result(calibration.ranges, [variant]).refined.get(RefinementRequest.by(variant))
        if isinstance(refined, TflqError):
            return trial
        config = refined.refinement.config if refined else RefinementConfig()
        return Trial(variant.model_copy(update=config.options), config.ranges or trial.ranges)

    @property
    def _is_late(self) -> bool:
        return self.limits.seconds is not None and time.monotonic() - self._started > self.limits.seconds

    def _task(self, key: str, trial: Trial, on: SampleSet) -> Task[Measurements]:
        build = VariantBuild(trial.variant, key[:16])
        calibration_result = self.calibration_result(trial.ranges) if trial.variant.needs_ranges else None
        make = conversion_task(self.context, self.source, calibration_result, build)
        build = replace(build, path=self.context.path(build))
        steps = [make]
        if stages.corrects_biases(build):
            steps += [stages.correction_if_possible(self.context, build, self.calibration_samples)]
        arguments = (steps, trial.variant, build.path, self.evaluations[on])
        verb = "confirm" if on == CONFIRMATION else TRY
        return Task(f"{verb} {trial.in_words} ({key[:6]})", run_trial, arguments, make.error, make.remedy)

    def _key(self, trial: Trial, on: SampleSet) -> str:
        variant = trial.variant.model_dump_json(exclude={"name"})
        samples = [self.calibration_samples.digest] if trial.variant.reads_samples else []
        ranges = [_method_name(trial.ranges)] if trial.variant.needs_ranges else []
        constraints = [str(constraint) for constraint in self.evaluations[on].constraints]
        return digest(self.identity, on, self.evaluations[on].stored.digest, variant, *samples, *ranges, *constraints)

    def calibration_result(self, ranges: Ranges, variants: Sequence[Mode] = ()) -> CalibrationResult:
        """Return the ranges by that method, and the models that the variants are quantized from. Each is made once."""
        name, context = _method_name(ranges), with_calibration_key(self.context, "ranges", ranges)
        if name not in self._calibrations:
            counting = context.calibration.counting
            if counting not in self._observations:
                self._observations[counting] = stages.observe(context, self.source, self.calibration_samples)
            self._calibrations[name] = stages.select_ranges(
                context, self._observations[counting], self.calibration_samples
            )
        if new := [
            variant for variant in variants if RefinementRequest.by(variant) not in self._calibrations[name].refined
        ]:
            self._calibrations[name] = stages.refine_models(context, self._calibrations[name], new)
        return self._calibrations[name]

    def calibration_data(self, method: Method) -> CalibrationData:
        """Return the activation statistics that the ranges by that method are computed from."""
        self.calibration_result(method)
        context = with_calibration_key(self.context, "ranges", method)
        return self._observations[context.calibration.counting]


def _method_name(ranges: Ranges) -> str:
    return f"percentile {ranges.percentile!r}" if isinstance(ranges, Percentile) else ranges


def _to_result(trial: Trial, outcome: Done[Measurements] | Failed) -> TrialResult:
    return (
        TrialResult(trial, None, str(outcome.error))
        if isinstance(outcome, Failed)
        else TrialResult(trial, outcome.value)
    )


def with_calibration_key(context: RunContext, key: str, value: Ranges | int) -> RunContext:
    """Return the context with another value for that key of the recipe's calibration section."""
    calibration = context.calibration.model_copy(update={key: value})
    recipe = context.recipe.model_copy(update={"calibration": calibration})
    return replace(context, recipe=recipe, cache=context.cache.for_recipe(recipe))


def is_trial(event: Event) -> bool:
    """Return whether the event belongs to a single trial on the selection or ranking samples."""
    return not isinstance(event, LogText) and event.stage.startswith(f"{TRY} ")
