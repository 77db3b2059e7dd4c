"""The sensitivity study of one variant: ablation of its groups of ops, and comparison of every activation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tflq import cache
from tflq.calibrate.calibration_data import ActivationStatistics
from tflq.calibrate.schema import Percentile
from tflq.errors import ConversionError, EvaluationError, RecipeError
from tflq.evaluate.plan import stack
from tflq.layerwise import Activation, LocalLoss, compare, first_bad, losses
from tflq.modes import Int8, Int16x8, Mode
from tflq.op_selectors import select
from tflq.pipeline import Settings
from tflq.recipe import Recipe
from tflq.sensitivity.ablation import AblationSweep, OpEffect
from tflq.sensitivity.causes import CauseEvidence, causes, of_activation
from tflq.sensitivity.error_split import ErrorSplit, split
from tflq.sensitivity.groups import By, Group, groups, inputs, quantizable
from tflq.sensitivity.json_report import to_json
from tflq.sensitivity.sensitivity_result import SensitivityResult
from tflq.stages import CalibrationResult, VariantBuild, conversion_task
from tflq.strict import did_you_mean
from tflq.trials import SELECTION, BudgetExhausted, Measurements, Trial, TrialLimits, TrialRunner, open_trials
from tflq.worker import Task

REPORT = "sensitivity.json"
COMPARED_SAMPLES = 32
"""Number of samples on which every activation is compared."""


@dataclass(frozen=True)
class SensitivityRequest:
    """The options of a study."""

    variant: str | None = None
    """The name of the variant. Default: the first one with integer activations."""
    by: By = "op"


def sensitivity(
    recipe: Recipe, request: SensitivityRequest, settings: Settings, limits: TrialLimits
) -> SensitivityResult:
    """Study one variant, and write sensitivity.json into the recipe's output folder.

    Raise RecipeError, SourceError, DatasetError or ConversionError if the variant cannot be studied.
    """
    variant = _select_variant(recipe, request.variant)
    with open_trials(recipe, settings, limits) as runner:
        outcome = _study(runner, variant, request.by)
    cache.write(recipe.output / REPORT, to_json(outcome))
    return outcome


def _select_variant(recipe: Recipe, name: str | None) -> Mode:
    variants = {variant.name: variant for variant in recipe.variants if variant.needs_ranges and not variant.trained}
    if not variants:
        raise RecipeError("the recipe has no variant with integer activations to study: add one, such as int8")
    if name is None:
        return next(iter(variants.values()))
    if name not in variants:
        hint, names = did_you_mean(name, variants), ", ".join(variants)
        raise RecipeError(
            f"--variant {name}: no variant with integer activations has this name{hint}; there are {names}"
        )
    return variants[name]


def _relaxed(variant: Mode) -> Mode:
    """Return the variant in the mode that lets ops stay in float."""
    kind = Int8 if variant.activations == "int8" else Int16x8
    return kind.model_validate({**variant.model_dump(exclude={"mode"}), "mode": kind.model_fields["mode"].default})


def _study(runner: TrialRunner, variant: Mode, by: By) -> SensitivityResult:
    assert runner.recipe.calibration is not None
    trial = runner.resolve_auto(_relaxed(variant))
    select(runner.graph, variant.keep_float)  # refuses unknown names before any trial
    base = _base(runner, trial, variant.name)
    graph, calibration_result = runner.graph, runner.calibration_result(trial.ranges, [trial.variant])
    file = _file(runner, trial, calibration_result)
    tensors, error_split = _compare(runner, _origin(calibration_result, trial, runner), file)
    evidence = _evidence(runner, trial, calibration_result, tensors)
    sweep = AblationSweep(runner, trial, base)
    local_losses = tuple(losses(runner.graph, tensors))
    effects = sweep.run(_sort_by_suspicion(_effects(evidence, by, tensors), local_losses), _leaky(evidence))
    return SensitivityResult(
        name=runner.recipe.name,
        trial=trial,
        is_relaxed=variant.is_strict,
        by=by,
        base=base,
        samples=runner.splits.description,
        evaluation=runner.recipe.measured_on,
        tensors=tensors,
        losses=local_losses,
        first_bad=first_bad(local_losses),
        split=error_split,
        effects=tuple(effects),
        remedies=tuple(sweep.run_remedies(list(_remedies(runner, trial)))),
        notes=(*calibration_result.selected_ranges.warnings, *calibration_result.selected_ranges.advice)
        if calibration_result.selected_ranges
        else (),
        types={operator.index: operator.type for operator in graph.subgraphs[0].operators},
        is_spent=sweep.is_spent,
    )


def _base(runner: TrialRunner, trial: Trial, name: str) -> Measurements:
    """Return the measurements of the variant itself."""
    try:
        (whole,) = runner.run([trial])
    except BudgetExhausted:
        raise RecipeError("--time ended the study before the variant itself was measured: give it more time") from None
    if whole.figures is None:
        raise ConversionError(f"{name}: {whole.reason}")
    return whole.figures


def _file(runner: TrialRunner, trial: Trial, calibration_result: CalibrationResult) -> Path:
    build = VariantBuild(trial.variant, "quantized")
    runner.context.workers.run(conversion_task(runner.context, runner.source, calibration_result, build))
    return runner.context.path(build)


def _origin(calibration_result: CalibrationResult, trial: Trial, runner: TrialRunner) -> Path:
    """Return the float32 file that the variant is quantized from. It is equalized if the variant is."""
    return (
        calibration_result.quantizer_input(trial.variant).original
        if calibration_result.selected_ranges
        else runner.float32
    )


def _compare(runner: TrialRunner, float32: Path, file: Path) -> tuple[tuple[Activation, ...], ErrorSplit]:
    evaluation, folder, files = runner.evaluations[SELECTION], runner.context.folder, (float32, file)
    source, batch = evaluation.plan.source, evaluation.plan.source.batch or 1
    samples = evaluation.stored.samples()[:COMPARED_SAMPLES]
    calls = [stack(samples[start : start + batch], source) for start in range(0, len(samples), batch)]
    comparison: Task[Any] = Task("compare the activations", compare, (files, calls, folder), EvaluationError)
    separation: Task[Any] = Task("split the error", split, (files, evaluation, folder), EvaluationError)
    tensors, error_split = runner.context.workers.run_all([comparison, separation], runner.context.jobs)
    return tensors.get(), error_split.get()


def _evidence(
    runner: TrialRunner, trial: Trial, calibration_result: CalibrationResult, tensors: tuple[Activation, ...]
) -> CauseEvidence:
    selected_ranges = calibration_result.selected_ranges
    ranges = selected_ranges.by_bits[trial.variant.activation_bits] if selected_ranges else ()
    statistics = runner.calibration_data(trial.ranges).statistics
    return CauseEvidence(
        graph=runner.graph,
        variant=trial.variant,
        ranges={span.tensor: span for span in ranges if span.subgraph == 0},
        observed=statistics if isinstance(statistics, ActivationStatistics) else None,
        calibration_samples=runner.calibration_samples,
        peaks={activation.tensor: activation.peaks for activation in tensors},
    )


def _effects(evidence: CauseEvidence, by: By, tensors: tuple[Activation, ...]) -> Iterator[OpEffect]:
    """Yield the effects of all groups, without trials yet."""
    graph = evidence.graph
    (subgraph, *_) = graph.subgraphs
    candidates = quantizable(graph, evidence.variant.activations) - select(graph, evidence.variant.keep_float)
    worst: dict[int | None, float] = {}
    for activation in tensors:
        sqnr_db = activation.sqnr_db
        worst[activation.operator] = min(worst.get(activation.operator, sqnr_db), sqnr_db)
    for group in inputs(graph):
        assert group.input is not None
        input_db = {activation.tensor: activation.sqnr_db for activation in tensors}.get(group.input)
        name = subgraph.tensors[group.input].name
        yield OpEffect(group, (), name, input_db, (), tuple(of_activation(evidence, group.input)))
    for group in groups(graph, by, candidates):
        yield _effect(evidence, group, worst)


def _sort_by_suspicion(effects: Iterable[OpEffect], losses: Sequence[LocalLoss]) -> list[OpEffect]:
    """Sort the effects: those with a cause first, then those that lose most between their inputs and outputs."""
    by_op = {loss.operator: loss.lost_db for loss in losses}

    def suspicion(effect: OpEffect) -> tuple[bool, float]:
        return bool(effect.causes), max((by_op.get(op, 0.0) for op in effect.group.ops), default=0.0)

    return sorted(effects, key=suspicion, reverse=True)


def _effect(evidence: CauseEvidence, group: Group, worst: Mapping[int | None, float]) -> OpEffect:
    (subgraph, *_) = evidence.graph.subgraphs
    operators = [subgraph.operators[op] for op in group.ops]
    names = [tensor.name for operator in operators for tensor in subgraph.written_by(operator)]
    return OpEffect(
        group=group,
        types=tuple(dict.fromkeys(operator.type for operator in operators)),
        tensor=names[0] if names else "",
        sqnr_db=min((worst[op] for op in group.ops if op in worst), default=None),
        readers=(),
        causes=tuple(cause for operator in operators for cause in causes(evidence, operator)),
    )


def _leaky(evidence: CauseEvidence) -> frozenset[int]:
    """Return the ops whose output has a harmful range. Their readers must be in float with them."""
    return frozenset(
        operator.index
        for operator in evidence.graph.subgraphs[0].operators
        if any(of_activation(evidence, index) for index in operator.outputs)
    )


def _remedies(runner: TrialRunner, trial: Trial) -> Iterator[Trial]:
    """Yield trials with other options that cost nothing or little: ranges, and one scale for each channel."""
    if runner.is_observed:
        yield from (
            replace(trial, ranges=method)
            for method in ("minmax", Percentile(percentile=99.99), "mse")
            if method != trial.ranges
        )
    if not (trial.variant.per_channel and trial.variant.per_channel_dense):
        options = {"per_channel": True, "per_channel_dense": True}
        yield replace(trial, variant=trial.variant.model_copy(update=options))
