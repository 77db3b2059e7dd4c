"""Open the trials of one recipe: prepare the float32 file, choose the samples and store them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from tflq import cache, stages
from tflq.cache import digest
from tflq.calibrate.samples import read_samples
from tflq.cost_model import multiply_adds
from tflq.errors import ConversionError, DatasetError, RecipeError
from tflq.evaluate.plan import EvaluationPlan
from tflq.flatbuffer import load
from tflq.modes import Int8, Int16x8
from tflq.pipeline import Settings
from tflq.recipe import Recipe, check_source
from tflq.stages import ConvertibleSource, RecipeCache, RunContext
from tflq.stages.recipe_cache import versions
from tflq.trials.constraints import Constraint, constraints
from tflq.trials.journal import Journal
from tflq.trials.runner import NO_LIMITS, TrialLimits, TrialRunner, with_calibration_key
from tflq.trials.splits import Splits, choose_splits
from tflq.trials.stored_samples import store_samples
from tflq.trials.target_limits import TargetLimits, target_limits
from tflq.trials.trial import (
    CONFIRMATION,
    MIN_RANKING_SAMPLES,
    RANKING,
    SELECTION,
    SampleSet,
    TrialEvaluation,
    spread,
)
from tflq.worker import Task, Workers, preload_tensorflow

JOURNAL, LOG = "trials.jsonl", "trials.log"
MAX_SAMPLES = 500
"""The largest number of selection samples."""
MAX_WORK = 15e9
"""The largest work to measure one trial, in multiply-adds of int8 over all its samples."""


@contextmanager
def open_trials(recipe: Recipe, settings: Settings, limits: TrialLimits = NO_LIMITS) -> Iterator[TrialRunner]:
    """Open a runner of trials for the recipe, with its journal and log in the recipe's output folder.

    Raise RecipeError without `calibration`. Raise SourceError, DatasetError or ConversionError if the model cannot be
    quantized or there are too few samples.
    """
    if recipe.calibration is None:
        raise RecipeError(f"{recipe.name}: trials need the ranges of activations: give calibration, with a dataset")
    check_source(recipe)
    preload_tensorflow()
    with cache.workspace(recipe.output) as folder:
        log = recipe.output / LOG
        log.unlink(missing_ok=True)
        with (
            Workers(log, settings.timeout, settings.listen, settings.budget) as workers,
            RecipeCache(recipe, settings.store if recipe.keeps else None) as recipe_cache,
        ):
            yield _prepare(
                RunContext(_with_one_mode_per_width(recipe), folder, workers, settings.jobs, recipe_cache), limits
            )


def _with_one_mode_per_width(recipe: Recipe) -> Recipe:
    """Return the recipe with one variant for 8-bit and one for 16-bit activations, so that both get ranges."""
    ops = recipe.base.model_dump(include={"allow_custom_ops", "select_tf_ops"})
    return recipe.model_copy(update={"variants": (Int8(**ops), Int16x8(**ops))})


def _prepare(context: RunContext, limits: TrialLimits) -> TrialRunner:
    source, run = stages.prepare_source(context), context.workers.run
    prepared_run = stages.prepare_inputs(context, source, makes_variants=False)
    float32 = prepared_run.float32.path
    _refuse_unsuitable(context, source)
    most = len(spread(MAX_SAMPLES, MAX_WORK / multiply_adds(load(float32))))
    splits = run(Task("choose the samples", choose_splits, (context.recipe, most), DatasetError)).value
    if splits.calibration_samples is not None:
        context = with_calibration_key(context, "samples", splits.calibration_samples)
    recipe = context.recipe
    arguments = (recipe.calibration, recipe.inputs, source.prepared, context.folder / "calibration")
    calibration_samples = run(Task("read the calibration data", read_samples, arguments, DatasetError)).value
    plan = stages.evaluation_plan(context, source.prepared, prepared_run)
    limits_of_gates = constraints(limits.gates, load(float32).size_bytes) if limits.gates else ()
    on_targets = target_limits(recipe) if limits.gates else TargetLimits()
    scoring = recipe.measured_on.model_dump_json(include={"label", "output", "metric"})
    return TrialRunner(
        recipe=recipe,
        splits=splits,
        float32=float32,
        context=context,
        source=source,
        evaluations=_evaluations(context, plan, splits, (limits_of_gates, on_targets)),
        constraints=limits_of_gates,
        limits=limits,
        journal=Journal(recipe.output / JOURNAL),
        identity=digest(versions(), cache.sha256(float32), scoring, repr(on_targets), *_quantized_inputs(recipe)),
        calibration_samples=calibration_samples,
    )


def _quantized_inputs(recipe: Recipe) -> Iterator[str]:
    """Yield what the recipe says about the quantization of inputs, which changes the files."""
    for name, section in sorted(recipe.inputs.items()):
        if section.quantization is not None:
            yield f"{name} {section.model_dump_json()}"


def _refuse_unsuitable(context: RunContext, source: ConvertibleSource) -> None:
    if source.missing_api:
        raise ConversionError(f"this TensorFlow lacks an API that trials need to quantize: {source.missing_api}")
    if context.has_own_ranges:
        raise ConversionError(
            f"{context.recipe.model.path}: the model contains fake-quantize ops, which fix its ranges, so trials have"
            " nothing to vary: use tflq convert"
        )


def _evaluations(
    context: RunContext, plan: EvaluationPlan, splits: Splits, limits: tuple[tuple[Constraint, ...], TargetLimits]
) -> dict[SampleSet, TrialEvaluation]:
    rows = {SELECTION: splits.selection, CONFIRMATION: splits.confirmation}
    tasks = [
        Task(f"store the {name} samples", store_samples, (plan, indices, context.folder / name), DatasetError)
        for name, indices in rows.items()
    ]
    stored = [outcome.get() for outcome in context.workers.run_all(tasks, context.jobs)]
    selection, confirmation = stored
    constraints, on_targets = limits
    ranking = selection.at(spread(selection.count, MIN_RANKING_SAMPLES))
    folder = context.folder / "target figures"
    return {
        RANKING: TrialEvaluation(plan, ranking, 0.0, (), TargetLimits(), folder),
        SELECTION: TrialEvaluation(plan, selection, MAX_WORK, constraints, on_targets, folder),
        CONFIRMATION: TrialEvaluation(plan, confirmation, math.inf, (), on_targets, folder),
    }
