"""Measurements that begin early: the source and the float32 file run while other stages leave a processor idle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tflq.cost_model import multiply_adds
from tflq.errors import EvaluationError, TflqError
from tflq.evaluate import recorded
from tflq.evaluate.plan import EvaluationPlan, EvaluationRows
from tflq.evaluate.record import Record
from tflq.evaluate.recorded import FLOAT32, SOURCE
from tflq.flatbuffer import Graph, mapped
from tflq.stages.context import RunContext
from tflq.stages.evaluation_plan import evaluation_plan
from tflq.stages.measurement_budget import MIN_SAMPLES, budget_of
from tflq.stages.measurement_rounds import BackgroundRound, PlanBudget, begin_round
from tflq.stages.state import ConvertibleSource, PreparedRun, RecordedOutputs
from tflq.worker import Done, Failed, Task

MEASURE_SOURCE = "measure the source"
MAX_RECORDED_SAMPLES = 2 * MIN_SAMPLES
"""The largest number of samples whose outputs are recorded. For more, they would take much space."""

MIN_MULTIPLY_ADDS = 1e10
"""The least number of multiply-adds over all samples for which the outputs of the float32 file are recorded."""


@dataclass(frozen=True)
class EarlyMeasurement:
    """What has begun before the files to measure are made."""

    source: RecordedOutputs | BackgroundRound | Record | None
    """The recorded outputs of the source, its measurement, or its record from the cache; None for a .tflite file."""
    float32: RecordedOutputs | None = None
    """The recorded outputs of the float32 file, if it takes long."""


def begin_recording_source(
    context: RunContext, source: ConvertibleSource, rows: EvaluationRows
) -> RecordedOutputs | Record | None:
    """Begin to record the outputs of the source in the background, or return its record from the cache.

    The float32 file need not exist. Return None for a .tflite file, and for too many samples.
    """
    if source.prepared.is_tflite:
        return None
    if context.float32.exists() and (cached := _cached_record(context, source)) is not None:
        return cached
    budget = budget_of(context.recipe, rows)
    samples = budget.first(budget.limit)
    if samples > MAX_RECORDED_SAMPLES:
        return None
    recipe = context.recipe
    plan = EvaluationPlan(recipe.measured_on, recipe.inputs, source.prepared, context.float32, rows.arrays, files={})
    return _recording(context, MEASURE_SOURCE, replace(plan, runs_source=True), (SOURCE, budget.order[:samples]))


def begin_measurement(context: RunContext, source: ConvertibleSource, prepared: PreparedRun) -> EarlyMeasurement:
    """Return what has begun for the source; else begin to measure it in the background."""
    if prepared.source is not None or source.prepared.is_tflite:
        return EarlyMeasurement(prepared.source)
    if (cached := _cached_record(context, source)) is not None:
        return EarlyMeasurement(cached)
    budget = budget_of(context.recipe, prepared.evaluation_rows)
    plan = replace(evaluation_plan(context, source.prepared, prepared), runs_source=True)
    planned = PlanBudget(plan, {SOURCE: budget.first(budget.limit)})
    return EarlyMeasurement(begin_round(context, budget, MEASURE_SOURCE, planned))


def with_float32_outputs(
    early: EarlyMeasurement, context: RunContext, source: ConvertibleSource, prepared: PreparedRun
) -> EarlyMeasurement:
    """Begin to record the outputs of the float32 file in the background, if it takes long.

    This is for runs that quantize next, which keeps one processor busy for each file.
    """
    if not any(build.needs_ranges for build in prepared.builds):
        return early
    budget, graph = budget_of(context.recipe, prepared.evaluation_rows), mapped(context.float32)
    samples = min(budget.limit, MAX_RECORDED_SAMPLES)
    work = float(multiply_adds(graph)) * samples / (source.prepared.batch or 1)
    if work < MIN_MULTIPLY_ADDS or _has_state(graph):
        return early
    plan = evaluation_plan(context, source.prepared, prepared)
    stage = "run the float32 file on evaluation samples"
    return replace(early, float32=_recording(context, stage, plan, (FLOAT32, budget.order[:samples])))


def _recording(
    context: RunContext, stage: str, plan: EvaluationPlan, subject_and_rows: tuple[str, Sequence[int]]
) -> RecordedOutputs:
    """Begin to record the outputs of a subject of the plan on those rows."""
    subject, rows = subject_and_rows
    folder = context.folder / f"outputs of {subject}"
    arguments = (plan, subject, sorted(rows), folder)
    task: Task[bool] = Task(stage, recorded.record_outputs, arguments, EvaluationError)
    return RecordedOutputs(len(rows), folder, context.workers.run_in_background(task))


def with_recorded_float32(context: RunContext, early: EarlyMeasurement, plan: EvaluationPlan) -> EvaluationPlan:
    """Return the plan with the recorded outputs of the float32 file, if there are some."""
    if early.float32 is None:
        return plan
    (outcome,) = context.workers.results([early.float32.task], context.jobs)
    is_recorded = isinstance(outcome, Done) and outcome.value  # if not, the file runs again, and its error is told
    return replace(plan, recorded={FLOAT32: early.float32.folder}) if is_recorded else plan


def source_plan(context: RunContext, early: EarlyMeasurement, plan: EvaluationPlan) -> dict[str, PlanBudget]:
    """Return the plan that compares the recorded outputs of the source, by the name of the source.

    There is none if nothing is recorded, or if the source could not be run. If the outputs were too large, it runs
    again. It also does so if it has a state: outputs then depend on the earlier calls of the same process.
    """
    if not isinstance(early.source, RecordedOutputs):
        return {}
    (outcome,) = context.workers.results([early.source.task], context.jobs)
    if isinstance(outcome, Failed):
        return {}
    is_usable = outcome.value and not _has_state(mapped(plan.float32))
    recorded = {**plan.recorded, SOURCE: early.source.folder} if is_usable else plan.recorded
    return {SOURCE: PlanBudget(replace(plan, runs_source=True, recorded=recorded), {SOURCE: early.source.samples})}


def source_record(
    context: RunContext, early: EarlyMeasurement, plan: EvaluationPlan, records: Mapping[str, Record | TflqError]
) -> Record | TflqError | None:
    """Return the record of the source, which the cache then has, or the error; None if it is not run.

    `records` has the record of recorded outputs.
    """
    if early.source is None or isinstance(early.source, Record):
        return early.source
    if isinstance(early.source, BackgroundRound):
        measured = early.source.records(context.workers, context.jobs)
        record = measured if isinstance(measured, TflqError) else measured[SOURCE]
    else:
        outcome = early.source.task.outcome
        record = outcome.error if isinstance(outcome, Failed) else records[SOURCE]
    if isinstance(record, Record):
        context.cache.save_source_record(record, (plan.float32, plan.source), context.folder / "new answers")
    return record


def _cached_record(context: RunContext, source: ConvertibleSource) -> Record | None:
    return context.cache.load_source_record(context.float32, source.prepared, context.folder / "cached answers")


def _has_state(graph: Graph) -> bool:
    """Return whether a call changes what the next one returns."""
    return any(operator.type == "ASSIGN_VARIABLE" for _, operator in graph.operators())
