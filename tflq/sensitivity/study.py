"""The study of one variant: its groups of ops are tried, and every activation is compared with the float model's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tflq import cache
from tflq.calibrate import ActivationStatistics, Percentile
from tflq.errors import ConversionError, EvaluationError, RecipeError
from tflq.evaluate import stack
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
from tflq.sensitivity.tensors import Activation, LocalLoss, compare, first_bad, losses
from tflq.stages import CalibrationResult, VariantBuild, conversion_task
from tflq.strict import did_you_mean
from tflq.trials import SELECTION, BudgetExhausted, Measurements, Trial, TrialLimits, TrialRunner, open_trials
from tflq.worker import Task

REPORT = "sensitivity.json"
COMPARED = 32
"""Samples on which every activation is compared."""


@dataclass(frozen=True)
class SensitivityRequest:
    variant: str | None = None
    """By default the first of the recipe that is calibrated."""
    by: By = "op"


def sensitivity(
    recipe: Recipe, request: SensitivityRequest, settings: Settings, limits: TrialLimits
) -> SensitivityResult:
    """Study one variant, and write what was found into the recipe's output folder.

    Raises RecipeError, SourceError, DatasetError or ConversionError where there is nothing to study.
    """
    variant = _chosen(recipe, request.variant)
    with open_trials(recipe, settings, limits) as runner:
        outcome = _studied(runner, variant, request.by)
    cache.write(recipe.output / REPORT, to_json(outcome))
    return outcome


def _chosen(recipe: Recipe, name: str | None) -> Mode:
    able = {variant.name: variant for variant in recipe.variants if variant.needs_ranges and not variant.trained}
    if not able:
        raise RecipeError("sensitivity is of a mode with integer activations, such as int8: the recipe has none")
    if name is None:
        return next(iter(able.values()))
    if name not in able:
        hint, there = did_you_mean(name, able), ", ".join(able)
        raise RecipeError(f"--variant {name}: no variant of that name has integer activations{hint}; there are {there}")
    return able[name]


def _relaxed(variant: Mode) -> Mode:
    """The same in the mode that lets ops stay in float."""
    kind = Int8 if variant.activations == "int8" else Int16x8
    return kind.model_validate({**variant.model_dump(exclude={"mode"}), "mode": kind.model_fields["mode"].default})


def _studied(runner: TrialRunner, variant: Mode, by: By) -> SensitivityResult:
    assert runner.recipe.calibration is not None
    trial = runner.decided(_relaxed(variant))
    select(runner.graph, variant.keep_float)  # which refuses what is not there, before anything is tried
    base = _base(runner, trial, variant.name)
    graph, calibration_result = runner.graph, runner.calibration_result(trial.ranges, [trial.variant])
    file = _file(runner, trial, calibration_result)
    tensors, halves = _measured(runner, _origin(calibration_result, trial, runner), file)
    evidence = _evidence(runner, trial, calibration_result, tensors)
    sweep = AblationSweep(runner, trial, base)
    lost = tuple(losses(runner.float32, tensors))
    effects = sweep.run(_by_suspicion(_effects(evidence, by, tensors), lost), _leaky(evidence))
    return SensitivityResult(
        name=runner.recipe.name,
        trial=trial,
        is_relaxed=variant.is_strict,
        by=by,
        base=base,
        samples=runner.splits.said,
        evaluation=runner.recipe.measured_on,
        tensors=tensors,
        losses=lost,
        first_bad=first_bad(lost),
        split=halves,
        effects=tuple(effects),
        remedies=tuple(sweep.others(list(_remedies(runner, trial)))),
        notes=(*calibration_result.selected_ranges.warnings, *calibration_result.selected_ranges.advice)
        if calibration_result.selected_ranges
        else (),
        types={operator.index: operator.type for operator in graph.subgraphs[0].operators},
        is_spent=sweep.is_spent,
    )


def _base(runner: TrialRunner, trial: Trial, name: str) -> Measurements:
    """Of the variant as it is."""
    try:
        (whole,) = runner.run([trial])
    except BudgetExhausted:
        raise RecipeError("--time ends this before the variant itself is tried: give it more") from None
    if whole.figures is None:
        raise ConversionError(f"{name}: {whole.reason}")
    return whole.figures


def _file(runner: TrialRunner, trial: Trial, calibration_result: CalibrationResult) -> Path:
    build = VariantBuild(trial.variant, "quantized")
    runner.context.workers.run(conversion_task(runner.context, runner.source, calibration_result, build))
    return runner.context.path(build)


def _origin(calibration_result: CalibrationResult, trial: Trial, runner: TrialRunner) -> Path:
    """The float32 file whose activations the variant's are: equalized where that one is."""
    return (
        calibration_result.quantizer_input(trial.variant).original
        if calibration_result.selected_ranges
        else runner.float32
    )


def _measured(runner: TrialRunner, float32: Path, file: Path) -> tuple[tuple[Activation, ...], ErrorSplit]:
    judging, folder, files = runner.judging[SELECTION], runner.context.folder, (float32, file)
    source, batch = judging.plan.source, judging.plan.source.batch or 1
    samples = judging.stored.samples()[:COMPARED]
    calls = [stack(samples[start : start + batch], source) for start in range(0, len(samples), batch)]
    compared: Task[Any] = Task("compare the activations", compare, (files, calls, folder), EvaluationError)
    apart: Task[Any] = Task("weights and activations apart", split, (files, judging, folder), EvaluationError)
    one, other = runner.context.workers.run_all([compared, apart], runner.context.jobs)
    return one.get(), other.get()


def _evidence(
    runner: TrialRunner, trial: Trial, calibration_result: CalibrationResult, tensors: tuple[Activation, ...]
) -> CauseEvidence:
    selected_ranges = calibration_result.selected_ranges
    ranges = selected_ranges.by_bits[trial.variant.activation_bits] if selected_ranges else ()
    found = runner.observed(trial.ranges).statistics
    return CauseEvidence(
        graph=runner.graph,
        variant=trial.variant,
        ranges={one.tensor: one for one in ranges if one.subgraph == 0},
        observed=found if isinstance(found, ActivationStatistics) else None,
        calibration_samples=runner.calibration_samples,
        peaks={one.tensor: one.peaks for one in tensors},
    )


def _effects(evidence: CauseEvidence, by: By, tensors: tuple[Activation, ...]) -> Iterator[OpEffect]:
    """Of all groups, before anything is tried."""
    graph = evidence.graph
    (subgraph, *_) = graph.subgraphs
    able = quantizable(graph, evidence.variant.activations) - select(graph, evidence.variant.keep_float)
    worst: dict[int | None, float] = {}
    for one in tensors:
        worst[one.operator] = min(worst.get(one.operator, one.sqnr_db), one.sqnr_db)
    for group in inputs(graph):
        assert group.input is not None
        known = {one.tensor: one.sqnr_db for one in tensors}.get(group.input)
        name = subgraph.tensors[group.input].name
        yield OpEffect(group, (), name, known, (), tuple(of_activation(evidence, group.input)))
    for group in groups(graph, by, able):
        yield _effect(evidence, group, worst)


def _by_suspicion(effects: Iterable[OpEffect], lost: Sequence[LocalLoss]) -> list[OpEffect]:
    """Those first that lose most from what they read to what they make, or have a cause to lose much."""
    by_op = {one.operator: one.lost_db for one in lost}

    def suspicion(effect: OpEffect) -> tuple[bool, float]:
        return bool(effect.causes), max((by_op.get(op, 0.0) for op in effect.group.ops), default=0.0)

    return sorted(effects, key=suspicion, reverse=True)


def _effect(evidence: CauseEvidence, group: Group, worst: Mapping[int | None, float]) -> OpEffect:
    (subgraph, *_) = evidence.graph.subgraphs
    operators = [subgraph.operators[op] for op in group.ops]
    named = [tensor.name for operator in operators for tensor in subgraph.written_by(operator)]
    return OpEffect(
        group=group,
        types=tuple(dict.fromkeys(operator.type for operator in operators)),
        tensor=named[0] if named else "",
        sqnr_db=min((worst[op] for op in group.ops if op in worst), default=None),
        readers=(),
        causes=tuple(cause for operator in operators for cause in causes(evidence, operator)),
    )


def _leaky(evidence: CauseEvidence) -> frozenset[int]:
    """Ops whose output has a range that spoils it: what reads it must be in float too for it to be whole."""
    return frozenset(
        operator.index
        for operator in evidence.graph.subgraphs[0].operators
        if any(of_activation(evidence, index) for index in operator.outputs)
    )


def _remedies(runner: TrialRunner, trial: Trial) -> Iterator[Trial]:
    """What costs nothing, or next to nothing."""
    if runner.is_observed:
        yield from (
            replace(trial, ranges=m) for m in ("minmax", Percentile(percentile=99.99), "mse") if m != trial.ranges
        )
    if not (trial.variant.per_channel and trial.variant.per_channel_dense):
        apart = {"per_channel": True, "per_channel_dense": True}
        yield replace(trial, variant=trial.variant.model_copy(update=apart))
