"""Where trials are made: the float32 file, ranges and samples of one recipe, each made once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from tflq import stages
from tflq.cache import digest
from tflq.calibrate import CalibrationData, CalibrationSamples, Method, Percentile, Ranges
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
from tflq.worker import Done, Event, Failed, Said, Task

TRY = "try"
"""Begins the names of the stages that are trials."""


class BudgetExhausted(Exception):
    """No further trial may be made."""


@dataclass(frozen=True)
class TrialLimits:
    """What all trials together may take; None for any number."""

    trials: int | None = None
    seconds: float | None = None
    gates: Gates | None = None
    """What fails these beyond hope on a few samples is not measured on the others that decide."""


NO_LIMITS = TrialLimits()


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
        told, context = _told(ranges), with_calibration_key(self.context, "ranges", ranges)
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
        context = with_calibration_key(self.context, "ranges", method)
        return self._observed[context.calibration.counting]


def _told(ranges: Ranges) -> str:
    return f"percentile {ranges.percentile!r}" if isinstance(ranges, Percentile) else ranges


def _tried(trial: Trial, outcome: Done[Measurements] | Failed) -> TrialResult:
    return (
        TrialResult(trial, None, str(outcome.error))
        if isinstance(outcome, Failed)
        else TrialResult(trial, outcome.value)
    )


def with_calibration_key(context: RunContext, key: str, value: Ranges | int) -> RunContext:
    """The same, but for that key of the recipe's calibration."""
    calibration = context.calibration.model_copy(update={key: value})
    recipe = context.recipe.model_copy(update={"calibration": calibration})
    return replace(context, recipe=recipe, cache=context.cache.for_recipe(recipe))


def is_trial(event: Event) -> bool:
    """Whether the event is of a single trial that decides or ranks."""
    return not isinstance(event, Said) and event.stage.startswith(f"{TRY} ")
