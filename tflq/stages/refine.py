"""Refinement as a stage: corrections of the float32 model are compared on hold-out samples, and the best are kept."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tflq import refine
from tflq.calibrate import CalibrationSamples
from tflq.errors import ConversionError, TflqError
from tflq.modes import Mode
from tflq.refine import (
    CorrectedModel,
    CorrectionFlags,
    HoldoutScore,
    QuantizerInput,
    RefinedInput,
    RefinementConfig,
    RefinementReport,
    RefinementRequest,
    SignalAndNoise,
    WeightGranularity,
    is_demanded,
)
from tflq.stages.activation_ranges import ActivationObserver, HoldoutSplit, SplitCalibration, split_calibration
from tflq.stages.candidate_models import CandidateModels, HoldoutComparison, ModelWithRanges
from tflq.stages.context import RunContext
from tflq.stages.refinement_work import RefinementWork
from tflq.stages.state import CalibrationResult
from tflq.worker import Failed, Task

MAX_FITTING_CALLS = 64
"""The largest number of calls that corrections are fitted to; more calls change little."""


def refine_models(context: RunContext, calibration: CalibrationResult, variants: Sequence[Mode]) -> CalibrationResult:
    """Return the calibration with the quantizer inputs of all variants that request corrections."""
    data, selected = calibration.calibration_data, calibration.selected_ranges
    if data is None or selected is None or selected.observation_obstacle:
        error = _activations_missing(calibration)
        demanded = [RefinementRequest.by(variant) for variant in variants if is_demanded(variant)]
        return replace(calibration, refined=dict.fromkeys(demanded, error))
    observer = ActivationObserver(context.calibration, context.folder / "refined", context.workers, context.jobs)
    base = ModelWithRanges(data, context.calibration.method)
    refiner = Refiner(context, observer, base, calibration.calibration_samples)
    return replace(calibration, refined={**calibration.refined, **refiner.refined_inputs(variants)})


def _activations_missing(calibration: CalibrationResult) -> ConversionError:
    obstacle = calibration.selected_ranges.observation_obstacle if calibration.selected_ranges else None
    return ConversionError(
        "bias_correction, rounding, equalization and headroom need the activations of the float32 model, which are not"
        f" available: {obstacle or f'its ranges come from {calibration.found_by}'}. Remove these keys or set them to"
        " auto."
    )


@dataclass(frozen=True)
class Refiner:
    """Makes the quantizer inputs of requests: corrects models, compares them on hold-out calls, and selects one."""

    context: RunContext
    observer: ActivationObserver
    base: ModelWithRanges
    """The float32 file without any correction."""
    samples: CalibrationSamples

    def refined_inputs(self, variants: Iterable[Mode]) -> dict[RefinementRequest, RefinedInput | TflqError]:
        """Return the quantizer input or the error of every request of these variants, except requests for nothing."""
        requests = {request: variant for variant in variants if not (request := RefinementRequest.by(variant)).is_noop}
        cache, new = self.context.cache, self._new_path
        cached = {request: entry for request in requests if (entry := cache.load_refined(self._key(request), new()))}
        computed = self._refine({request: requests[request] for request in requests if request not in cached})
        for request, refined in computed.items():
            if isinstance(refined, RefinedInput):
                cache.save_refined(refined, self._key(request), new())
        return {**cached, **computed}

    def _refine(self, variants: Mapping[RefinementRequest, Mode]) -> dict[RefinementRequest, RefinedInput | TflqError]:
        if not variants:
            return {}
        split = refine.split_holdout(self.samples.samples.number_of_calls)
        try:
            models = self._candidate_models(variants, split)
        except TflqError as error:
            return {request: self._without_refinement(request, str(error)) or error for request in variants}
        comparison = HoldoutComparison(variants, models, split, {request: [] for request in variants})
        if split[1]:
            self._compare(comparison)
        return {request: self._best(request, comparison) for request in variants}

    def _candidate_models(self, requests: Iterable[RefinementRequest], split: HoldoutSplit) -> CandidateModels:
        trials = [(request, config) for request in requests for config in self._configs(request)]
        bases: dict[bool, ModelWithRanges] = {}
        for is_equalized in sorted({False, *(config.equalization for _, config in trials)}):
            base = self._equalized(_thinned(split[0])) if is_equalized else self.base
            own_trials = [(request, config) for request, config in trials if config.equalization == is_equalized]
            bases[is_equalized] = self._corrected(base, own_trials, split)
        return CandidateModels(bases, self._work.corrected)

    def _equalized(self, calls: Sequence[int]) -> ModelWithRanges:
        equalized, counting = self._work.equalized, self.observer.calibration.counting
        if counting not in equalized:
            model = next((other.model for other in equalized.values()), None)
            if model is None:
                arguments = (self._float32, (self.samples.samples, calls), self._new_path())
                task = Task("equalize the channels", refine.equalize, arguments, ConversionError)
                (equalized_model,) = self._run_all([task])
                model = equalized_model.path
            equalized[counting] = self.observer.observe(model, self.samples, counts_few=False)
        return ModelWithRanges(equalized[counting], self.base.method)

    def _corrected(
        self,
        base: ModelWithRanges,
        trials: Sequence[tuple[RefinementRequest, RefinementConfig]],
        split: HoldoutSplit,
    ) -> ModelWithRanges:
        """Correct the layers of the base model, and at the same time count its activation values for mse ranges.

        Return the base with the statistics of the fitting calls, if the ranges of some calls can be computed.
        """
        data, work = base.calibration_data, self._work
        is_split = self._is_minmax and bool(split[1])
        targets, counting = self._correction_targets(data.model, trials), list[Task[Any]]()
        if is_split and any(config.mse for _, config in trials) and data.model not in work.split_calibration:
            counting = self.observer.split_counting_tasks(data, self.samples.samples, split)
        calls = _thinned(split[0])
        correcting = [self._correction(data.model, each, targets[each], calls) for each in targets]
        values = self._run_all([*correcting, *counting])
        for granularity, models in zip(targets, values, strict=False):
            work.corrected.update({(data.model, granularity, flags): model for flags, model in models.items()})
        if counting:
            work.split_calibration[data.model] = split_calibration(data, split[0], values[len(targets) :])
        if not is_split:
            return base
        without_counts = SplitCalibration(data, data.for_calls(split[0]))
        return replace(base, split_calibration=work.split_calibration.get(data.model, without_counts))

    def _correction_targets(
        self, model: Path, trials: Iterable[tuple[RefinementRequest, RefinementConfig]]
    ) -> dict[WeightGranularity, dict[CorrectionFlags, Path]]:
        """Return paths for the corrected models that do not exist yet, by granularity and corrections."""
        targets: dict[WeightGranularity, dict[CorrectionFlags, Path]] = {}
        for request, config in trials:
            granularity, flags = request.granularity, config.corrections
            if flags != CorrectionFlags() and (model, granularity, flags) not in self._work.corrected:
                targets.setdefault(granularity, {}).setdefault(flags, self._new_path())
        return targets

    def _correction(
        self,
        model: Path,
        granularity: WeightGranularity,
        targets: Mapping[CorrectionFlags, Path],
        calls: Sequence[int],
    ) -> Task[dict[CorrectionFlags, CorrectedModel]]:
        file = "the equalized" if model != self._float32 else "the float32"
        arguments = (model, (self.samples.samples, calls), granularity, targets)
        stage = f"fit the layers of {file} file{granularity.in_words}"
        return Task(stage, refine.correct, arguments, ConversionError)

    def _compare(self, comparison: HoldoutComparison) -> None:
        """Score every configuration of the requests that leave a choice."""
        requests = [request for request in comparison.variants if len(self._configs(request)) > 1]
        trials = [(request, config) for request in requests for config in self._configs(request)]
        tasks = [self._scoring(request, config, comparison) for request, config in trials]
        outcomes = self.context.workers.run_all(tasks, self.context.jobs)
        for (request, config), outcome in zip(trials, outcomes, strict=True):
            score = outcome.error if isinstance(outcome, Failed) else HoldoutScore(config, outcome.value)
            comparison.scores[request].append(score)

    def _scoring(
        self, request: RefinementRequest, config: RefinementConfig, comparison: HoldoutComparison
    ) -> Task[dict[str, SignalAndNoise]]:
        """Return the task that scores a configuration; its ranges leave out the hold-out calls if that is possible."""
        variant = comparison.variants[request]
        quantizer_input = comparison.models.quantizer_input(request, config, is_holdout=True)
        data = (self.samples.samples, comparison.split[1], self._new_path())
        arguments = (quantizer_input, variant, self._float32, data)
        return Task(f"compare {variant.name}, {config.in_words}", refine.holdout_fidelity, arguments, ConversionError)

    def _best(self, request: RefinementRequest, comparison: HoldoutComparison) -> RefinedInput | TflqError:
        outcomes, models = comparison.scores[request], comparison.models
        if outcomes and isinstance(outcomes[0], TflqError):
            return self._without_refinement(request, str(outcomes[0])) or outcomes[0]
        best = comparison.best(request)
        scores = tuple(outcome for outcome in outcomes if isinstance(outcome, HoldoutScore))
        config = best.config if best else request.required
        corrected = models.corrected_model(request, config)
        calls = len(comparison.split[1]) if scores else 0
        refinement = RefinementReport(config, scores, calls, corrected.corrections if corrected else ())
        return RefinedInput(models.quantizer_input(request, config), refinement)

    def _without_refinement(self, request: RefinementRequest, reason: str) -> RefinedInput | None:
        """Return the uncorrected file with the reason in its report; None if the recipe demands a correction."""
        config = request.required
        if config.corrections != CorrectionFlags() or config.equalization:
            return None
        quantizer_input = QuantizerInput(self._float32, self._float32, self.base.ranges(request, config))
        return RefinedInput(quantizer_input, RefinementReport(config, (), 0, (), reason))

    @property
    def _is_minmax(self) -> bool:
        """Whether the recipe's ranges cover all values; otherwise the ranges of a part of the calls are not known."""
        return self.observer.calibration.method == "minmax"

    def _configs(self, request: RefinementRequest) -> tuple[RefinementConfig, ...]:
        return request.configs_to_compare(ranges_are_open=self.observer.calibration.ranges == "auto")

    def _run_all(self, tasks: Sequence[Task[Any]]) -> list[Any]:
        return [outcome.get() for outcome in self.context.workers.run_all(tasks, self.context.jobs)]

    @property
    def _work(self) -> RefinementWork:
        return self.context.work

    @property
    def _float32(self) -> Path:
        return self.base.calibration_data.model

    def _key(self, request: RefinementRequest) -> tuple[Path, CalibrationSamples, RefinementRequest]:
        return self._float32, self.samples, request

    def _new_path(self) -> Path:
        self.observer.folder.mkdir(parents=True, exist_ok=True)
        return self.observer.folder / uuid.uuid4().hex


def _thinned(calls: Sequence[int]) -> Sequence[int]:
    """Return at most MAX_FITTING_CALLS of the calls, evenly spread."""
    return calls[:: -(-len(calls) // MAX_FITTING_CALLS)]
