"""Refinement as a stage: corrections of the float32 model are compared on hold-out samples, and the best are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tflq import refine
from tflq.errors import ConversionError, TflqError
from tflq.modes import REFINEMENTS, Mode
from tflq.refine import (
    CorrectedModel,
    Fold,
    HoldoutScore,
    QuantizerInput,
    RefinedInput,
    RefinementConfig,
    RefinementReport,
    RefinementRequest,
    ScoresWanted,
    SignalAndNoise,
    is_demanded,
)
from tflq.stages.activation_ranges import ActivationObserver
from tflq.stages.context import RunContext
from tflq.stages.fitted_config import FittedConfig
from tflq.stages.fitted_models import ModelFitter
from tflq.stages.scoring_rounds import Scored, in_rounds
from tflq.stages.state import CalibrationResult
from tflq.worker import Done, Failed, Task


def refine_models(context: RunContext, calibration: CalibrationResult, variants: Sequence[Mode]) -> CalibrationResult:
    """Return the calibration with the quantizer inputs of all variants that request corrections."""
    data, selected = calibration.calibration_data, calibration.selected_ranges
    if data is None or selected is None or selected.observation_obstacle:
        error = _activations_missing(calibration)
        demanded = [RefinementRequest.by(variant) for variant in variants if is_demanded(variant)]
        return replace(calibration, refined=dict.fromkeys(demanded, error))
    samples, cache = calibration.calibration_samples, context.cache
    observer = ActivationObserver(context.calibration, context.folder / "refined", context.workers, context.jobs)
    folds, max_calls = refine.folds(samples.samples.number_of_calls), refine.max_fitting_calls(data.model)
    fitter = ModelFitter(context, observer, data, samples, folds, max_calls)
    requests = {request: variant for variant in variants if not (request := RefinementRequest.by(variant)).is_noop}
    keys = {request: (data.model, samples, request) for request in requests}
    cached = {request: entry for request, key in keys.items() if (entry := cache.load_refined(key, fitter.new_path()))}
    refiner = Refiner(fitter, {request: variant for request, variant in requests.items() if request not in cached})
    computed = refiner.refined_inputs()
    for request, refined in computed.items():
        if isinstance(refined, RefinedInput):
            cache.save_refined(refined, keys[request], fitter.new_path())
    return replace(calibration, refined={**calibration.refined, **cached, **computed})


def _activations_missing(calibration: CalibrationResult) -> ConversionError:
    obstacle = calibration.selected_ranges.observation_obstacle if calibration.selected_ranges else None
    *others, last = REFINEMENTS
    return ConversionError(
        f"{', '.join(others)} and {last} need the activations of the float32 model, which are not"
        f" available: {obstacle or f'its ranges come from {calibration.found_by}'}. Remove these keys or set them to"
        " auto."
    )


_Outcomes = Mapping[RefinementConfig, HoldoutScore | TflqError]


@dataclass(frozen=True)
class _Selected:
    """The configuration of a request to keep, and what led to it."""

    config: RefinementConfig
    outcomes: _Outcomes = field(default_factory=dict)
    """The score or the error of each compared configuration, in the order of the comparison."""
    on_all_calls: tuple[HoldoutScore, ...] = ()
    """The scores without and with headroom on all calls; empty if the hold-out calls decided."""
    beyond_budget: tuple[str, ...] = ()
    """The keys of corrections that were not compared."""

    @property
    def scores(self) -> tuple[HoldoutScore, ...]:
        return _scores(self.outcomes)

    def weighted(self, outcomes: _Outcomes) -> _Outcomes:
        """Return the outcomes with the outputs of scores weighted by those of the very first score."""
        first = next(iter([*self.scores, *_scores(outcomes)]), None)
        return {
            config: each.weighted_by(first) if first and isinstance(each, HoldoutScore) else each
            for config, each in outcomes.items()
        }

    def with_outcomes(self, outcomes: _Outcomes, is_of_all: bool) -> _Selected:
        """Return what is selected with more outcomes. Those on all calls stay apart, since they are of other calls."""
        if is_of_all:
            scores = _scores(outcomes)
            return replace(self, on_all_calls=scores if len(scores) == len(outcomes) else ())
        return replace(self, outcomes={**self.outcomes, **outcomes})


def _scores(outcomes: _Outcomes) -> tuple[HoldoutScore, ...]:
    return tuple(outcome for outcome in outcomes.values() if isinstance(outcome, HoldoutScore))


@dataclass(frozen=True)
class Refiner:
    """Makes the quantizer inputs of requests: corrects models, compares them on hold-out calls, and selects one."""

    fitter: ModelFitter
    variants: Mapping[RefinementRequest, Mode]
    """One variant of each request, which is quantized for the comparison."""
    fidelities: dict[Scored, Done[dict[str, SignalAndNoise]] | Failed] = field(default_factory=dict)
    """The outcomes so far. Equal candidates are run once."""

    def refined_inputs(self) -> dict[RefinementRequest, RefinedInput | TflqError]:
        """Return the quantizer input or the error of every request."""
        try:
            return self._refined(self._selections())
        except TflqError as error:
            return {request: self._without_refinement(request, str(error)) or error for request in self.variants}

    def _selections(self) -> dict[RefinementRequest, _Selected]:
        """Select a configuration for each request. The configurations of all requests are scored at the same time."""
        open_requests = [request for request in self.variants if request.open_choices and self.fitter.folds]
        ranges = self.fitter.observer.calibration.ranges
        left_out = {request: self._beyond_budget(request) for request in open_requests}
        running = {request: refine.select_corrections(request, ranges, left_out[request]) for request in open_requests}
        selected = {
            request: _Selected(request.required, beyond_budget=left_out.get(request, ())) for request in self.variants
        }
        wanted = {request: next(selection) for request, selection in running.items()}
        alongside = self._quantizing_uncorrected(wanted)
        while wanted:
            for request, unweighted in self._scored(wanted, alongside).items():
                outcomes = selected[request].weighted(unweighted)
                is_of_all = wanted[request].on_all_calls and len(self.fitter.folds) == 1
                selected[request] = selected[request].with_outcomes(outcomes, is_of_all)
                scores = {config: each for config, each in outcomes.items() if isinstance(each, HoldoutScore)}
                try:
                    wanted[request] = running[request].send(scores)
                except StopIteration as stop:
                    selected[request] = replace(selected[request], config=stop.value)
                    del wanted[request]
            alongside = []
        return selected

    def _beyond_budget(self, request: RefinementRequest) -> tuple[str, ...]:
        return refine.beyond_budget(self.fitter.data.model, len(self.fitter.all_calls), request)

    def _quantizing_uncorrected(self, requests: Iterable[RefinementRequest]) -> list[Task[None]]:
        """Return the tasks that write the first quantized file of each 8-bit request, for one fold.

        They need no fit, so they can run beside the first one. The files of all candidates are made from them.
        """
        tasks = []
        for request in (each for each in requests if each.bits == 8 and not each.required.rewrites_model):
            config, variant = replace(request.required, corrections=()), self.variants[request]
            candidate = self.fitter.candidate(FittedConfig(request, config, self.fitter.folds[0].fitting))
            stage, arguments = f"quantize {variant.name} to compare", (candidate, variant, self.fitter.new_path())
            tasks.append(Task(stage, refine.quantize_uncorrected, arguments, ConversionError))
        return tasks

    def _scored(
        self, wanted: Mapping[RefinementRequest, ScoresWanted], alongside: Sequence[Task[None]]
    ) -> dict[RefinementRequest, dict[RefinementConfig, HoldoutScore | TflqError]]:
        """Score configurations on the hold-out calls of folds. Tasks of `alongside` run beside their fits."""
        fitted = [
            (each, fold)
            for request, scores_wanted in wanted.items()
            for config in scores_wanted.configs
            for each, fold in self._fitted(request, config, scores_wanted.on_all_calls)
        ]
        configs = [each for each, _ in fitted]
        self.fitter.fit(configs, list(dict.fromkeys(fold for _, fold in fitted)), alongside)
        self.fitter.fit_ranges(configs, is_final=False)
        context = self.fitter.context
        keys: list[Scored] = [(self.fitter.candidate(each), each.request, fold) for each, fold in fitted]
        new = {key: each.config for key, (each, _) in zip(keys, fitted, strict=True) if key not in self.fidelities}
        for round_ in in_rounds(new):
            tasks = [self._scoring(key, new[key]) for key in round_]
            self.fidelities.update(zip(round_, context.workers.run_all(tasks, context.jobs), strict=True))
        scored: dict[RefinementRequest, dict[RefinementConfig, HoldoutScore | TflqError]] = {}
        for key, (each, _) in zip(keys, fitted, strict=True):
            before = scored.setdefault(each.request, {}).get(each.config)
            scored[each.request][each.config] = _joined(before, self.fidelities[key], each.config)
        return scored

    def _fitted(
        self, request: RefinementRequest, config: RefinementConfig, on_all_calls: bool
    ) -> list[tuple[FittedConfig, Fold]]:
        """Return the configuration for each fold that it is scored on.

        On all calls, corrections are fitted to the fitting calls of the only fold, and only the ranges differ.
        """
        folds = self.fitter.folds
        if not on_all_calls or len(folds) > 1:  # the hold-out calls of several folds are all calls
            return [(FittedConfig(request, config, fold.fitting), fold) for fold in folds]
        of_all = refine.folds_of_all(self.fitter.samples.samples.number_of_calls)
        return [(FittedConfig(request, config, folds[0].fitting, fold.fitting), fold) for fold in of_all]

    def _scoring(self, scored: Scored, config: RefinementConfig) -> Task[dict[str, SignalAndNoise]]:
        candidate, request, fold = scored
        variant = self.variants[request]
        arguments = (candidate, variant, self.fitter.holdout(fold), self.fitter.new_path())
        return Task(f"compare {variant.name}, {config.in_words}", refine.holdout_fidelity, arguments, ConversionError)

    def _refined(
        self, selections: Mapping[RefinementRequest, _Selected]
    ) -> dict[RefinementRequest, RefinedInput | TflqError]:
        """Fit what was selected for good, and return the quantizer inputs."""
        fitter = self.fitter
        chosen = {
            request: FittedConfig(request, each.config, fitter.final_calls) for request, each in selections.items()
        }
        fitter.fit(list(chosen.values()))
        correcting = {request: each for request, each in chosen.items() if each.needs_means}
        tasks = [self._correction(each) for each in correcting.values()]
        corrected = fitter.fit_ranges(list(chosen.values()), is_final=True, alongside=tasks)
        models = dict(zip(correcting, [outcome.get() for outcome in corrected], strict=True))
        return {
            request: self._failure(request, each) or self._refined_input(chosen[request], models.get(request), each)
            for request, each in selections.items()
        }

    def _correction(self, fitted: FittedConfig) -> Task[CorrectedModel]:
        layers, options = self.fitter.layers(fitted), (fitted.request.granularity, fitted.config.of_layers)
        arguments = (self.fitter.model(fitted), layers, options, self.fitter.new_path())
        stage = f"correct the layers of {self.variants[fitted.request].name}"
        return Task(stage, refine.write_corrected, arguments, ConversionError)

    def _refined_input(self, fitted: FittedConfig, model: CorrectedModel | None, selected: _Selected) -> RefinedInput:
        fitter, original = self.fitter, self.fitter.model(fitted)
        ranges = fitter.ranges(fitted, fitter.all_calls)
        calls = sum(len(fold.holdout) for fold in fitter.folds) if selected.scores else 0
        corrections = model.corrections if model else ()
        refinement = RefinementReport(
            fitted.config,
            selected.scores,
            calls,
            corrections,
            leaves_out_activations=fitted.request.bits == 16,
            on_all_calls=selected.on_all_calls,
            beyond_budget=selected.beyond_budget,
        )
        return RefinedInput(QuantizerInput(model.path if model else original, original, ranges), refinement)

    def _failure(self, request: RefinementRequest, selected: _Selected) -> RefinedInput | TflqError | None:
        """Return what takes the place of a request whose demanded configuration could not be scored."""
        error = selected.outcomes.get(request.required)
        if not isinstance(error, TflqError):
            return None
        return self._without_refinement(request, str(error)) or error

    def _without_refinement(self, request: RefinementRequest, reason: str) -> RefinedInput | None:
        """Return the uncorrected file with the reason in its report; None if the recipe demands a correction."""
        config = request.required
        if config.corrections:
            return None
        fitter = self.fitter
        fitted = FittedConfig(request, config, fitter.final_calls)
        ranges = fitter.ranges(fitted, fitter.all_calls)
        quantizer_input = QuantizerInput(fitter.data.model, fitter.data.model, ranges)
        return RefinedInput(quantizer_input, RefinementReport(config, (), 0, (), obstacle=reason))


def _joined(
    before: HoldoutScore | TflqError | None, outcome: Done[dict[str, SignalAndNoise]] | Failed, config: RefinementConfig
) -> HoldoutScore | TflqError:
    """Return the score with the calls of one more fold, or the first error."""
    if isinstance(before, TflqError):
        return before
    if isinstance(outcome, Failed):
        return outcome.error
    if before is None:
        return HoldoutScore(config, outcome.value)
    return HoldoutScore(config, {name: before.outputs[name].joined(more) for name, more in outcome.value.items()})
