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
from tflq.stages.activation_ranges import Calibrator, HoldoutSplit, SplitCalibration, split_calibration
from tflq.stages.candidate_models import CandidateModels, HoldoutComparison, ModelWithRanges
from tflq.stages.context import RunContext
from tflq.stages.refinement_work import RefinementWork
from tflq.stages.state import CalibrationResult
from tflq.worker import Failed, Task

MAX_FITTING_CALLS = 64
"""Calls that layers are fitted to, at most; more change little."""


def refine_models(context: RunContext, calibration: CalibrationResult, variants: Sequence[Mode]) -> CalibrationResult:
    """Return the calibration with the models that these variants are quantized from, if they ask for corrections."""
    data, selected = calibration.calibration_data, calibration.selected_ranges
    if data is None or selected is None or selected.observation_obstacle:
        refused = _activations_missing(calibration)
        demanded = [RefinementRequest.by(variant) for variant in variants if is_demanded(variant)]
        return replace(calibration, refined=dict.fromkeys(demanded, refused))
    calibrator = Calibrator(context.calibration, context.folder / "refined", context.workers, context.jobs)
    base = ModelWithRanges(data, context.calibration.method)
    refiner = Refiner(context, calibrator, base, calibration.calibration_samples)
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
    context: RunContext
    calibrator: Calibrator
    base: ModelWithRanges
    """The float32 file without any correction."""
    samples: CalibrationSamples

    def refined_inputs(self, variants: Iterable[Mode]) -> dict[RefinementRequest, RefinedInput | TflqError]:
        """The quantizer input of every request of these variants that asks for corrections, or its error."""
        requests = {request: variant for variant in variants if not (request := RefinementRequest.by(variant)).is_noop}
        cache, new = self.context.cache, self._new_path
        cached = {request: found for request in requests if (found := cache.load_refined(self._key(request), new()))}
        made = self._refine({request: requests[request] for request in requests if request not in cached})
        for request, refined in made.items():
            if isinstance(refined, RefinedInput):
                cache.save_refined(refined, self._key(request), new())
        return {**cached, **made}

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
        wanted = [(request, config) for request in requests for config in self._configs(request)]
        bases: dict[bool, ModelWithRanges] = {}
        for is_equalized in sorted({False, *(config.equalization for _, config in wanted)}):
            base = self._equalized(_thinned(split[0])) if is_equalized else self.base
            some = [(request, config) for request, config in wanted if config.equalization == is_equalized]
            bases[is_equalized] = self._corrected(base, some, split)
        return CandidateModels(bases, self._work.corrected)

    def _equalized(self, calls: Sequence[int]) -> ModelWithRanges:
        equalized, counting = self._work.equalized, self.calibrator.calibration.counting
        if counting not in equalized:
            model = next((other.model for other in equalized.values()), None)
            if model is None:
                arguments = (self._float32, (self.samples.samples, calls), self._new_path())
                (made,) = self._run_all([Task("equalize the channels", refine.equalize, arguments, ConversionError)])
                model = made.path
            equalized[counting] = self.calibrator.find(model, self.samples, counts_few=False)
        return ModelWithRanges(equalized[counting], self.base.method)

    def _corrected(
        self,
        base: ModelWithRanges,
        wanted: Sequence[tuple[RefinementRequest, RefinementConfig]],
        split: HoldoutSplit,
    ) -> ModelWithRanges:
        """Correct the layers of the base, and meanwhile count the values of its activations for mse ranges.

        Returns the base with the statistics of the fitting calls alone, if ranges of some calls can be had.
        """
        whole, work = base.calibration_data, self._work
        is_split = self._is_minmax and bool(split[1])
        targets, counting = self._correction_targets(whole.model, wanted), list[Task[Any]]()
        if is_split and any(config.mse for _, config in wanted) and whole.model not in work.split_calibration:
            counting = self.calibrator.counting(whole, self.samples.samples, split)
        calls = _thinned(split[0])
        correcting = [self._correction(whole.model, some, targets[some], calls) for some in targets]
        done = self._run_all([*correcting, *counting])
        for granularity, models in zip(targets, done, strict=False):
            work.corrected.update({(whole.model, granularity, flags): model for flags, model in models.items()})
        if counting:
            work.split_calibration[whole.model] = split_calibration(whole, split[0], done[len(targets) :])
        if not is_split:
            return base
        of_minmax = SplitCalibration(whole, whole.of(split[0]))
        return replace(base, split_calibration=work.split_calibration.get(whole.model, of_minmax))

    def _correction_targets(
        self, model: Path, wanted: Iterable[tuple[RefinementRequest, RefinementConfig]]
    ) -> dict[WeightGranularity, dict[CorrectionFlags, Path]]:
        """Paths of the corrected models that have not been made yet."""
        targets: dict[WeightGranularity, dict[CorrectionFlags, Path]] = {}
        for request, config in wanted:
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
        """The ranges leave out the hold-out calls if they can, since they must serve samples that are new."""
        variant = comparison.variants[request]
        quantizer_input = comparison.models.quantizer_input(request, config, is_holdout=True)
        data = (self.samples.samples, comparison.split[1], self._new_path())
        arguments = (quantizer_input, variant, self._float32, data)
        return Task(f"compare {variant.name}, {config.in_words}", refine.holdout_fidelity, arguments, ConversionError)

    def _best(self, request: RefinementRequest, comparison: HoldoutComparison) -> RefinedInput | TflqError:
        found, models = comparison.scores[request], comparison.models
        if found and isinstance(found[0], TflqError):
            return self._without_refinement(request, str(found[0])) or found[0]
        best, scores = comparison.best(request), tuple(one for one in found if isinstance(one, HoldoutScore))
        config = best.config if best else request.required
        corrected = models.corrected_model(request, config)
        calls = len(comparison.split[1]) if scores else 0
        refinement = RefinementReport(config, scores, calls, corrected.corrections if corrected else ())
        return RefinedInput(models.quantizer_input(request, config), refinement)

    def _without_refinement(self, request: RefinementRequest, reason: str) -> RefinedInput | None:
        """The float32 file as it is, with the reason; None if the recipe demands a correction."""
        config = request.required
        if config.corrections != CorrectionFlags() or config.equalization:
            return None
        quantizer_input = QuantizerInput(self._float32, self._float32, self.base.ranges(request, config))
        return RefinedInput(quantizer_input, RefinementReport(config, (), 0, (), reason))

    @property
    def _is_minmax(self) -> bool:
        """Whether the recipe's ranges span all values; only then the ranges of some calls can be computed."""
        return self.calibrator.calibration.method == "minmax"

    def _configs(self, request: RefinementRequest) -> tuple[RefinementConfig, ...]:
        return request.configs_to_compare(ranges_are_open=self.calibrator.calibration.ranges == "auto")

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
        self.calibrator.folder.mkdir(parents=True, exist_ok=True)
        return self.calibrator.folder / uuid.uuid4().hex


def _thinned(calls: Sequence[int]) -> Sequence[int]:
    return calls[:: -(-len(calls) // MAX_FITTING_CALLS)]
