"""Open the trials of one recipe: prepare the float32 file, choose the samples and store them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from tflq import cache, calibrate, stages
from tflq.cache import digest
from tflq.errors import ConversionError, DatasetError, RecipeError
from tflq.evaluate import EvaluationPlan
from tflq.flatbuffer import load
from tflq.modes import Int8, Int16x8
from tflq.pipeline import Settings
from tflq.recipe import Recipe, check_source
from tflq.stages import ConvertibleSource, RecipeCache, RunContext
from tflq.stages.recipe_cache import versions
from tflq.trials.constraints import Constraint, constraints
from tflq.trials.cost_model import multiply_adds
from tflq.trials.journal import Journal
from tflq.trials.runner import NO_LIMITS, TrialLimits, TrialRunner, with_calibration_key
from tflq.trials.splits import Splits, choose_splits
from tflq.trials.stored_samples import store_samples
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
        context = with_calibration_key(context, "samples", splits.calibration_samples)
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
