"""The last stages: check files against their contracts, run them once, measure them, and time them."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tflq import verify
from tflq.errors import EvaluationError, TflqError
from tflq.evaluate import measuring
from tflq.evaluate.plan import EvaluationPlan
from tflq.evaluate.record import Record
from tflq.evaluate.recorded import FLOAT32
from tflq.interpreter import LatencyStats
from tflq.result import CompressionStats
from tflq.stages.context import RunContext
from tflq.stages.early_measurement import EarlyMeasurement, source_plan, source_record, with_recorded_float32
from tflq.stages.evaluation_plan import evaluation_plan
from tflq.stages.measurement_budget import MeasurementBudget, budget_of
from tflq.stages.measurement_rounds import PlanBudget, measure_rounds
from tflq.stages.prepare import BASELINE
from tflq.stages.state import ConvertibleSource, PreparedRun
from tflq.stages.variant_build import VariantBuild, run_for_each
from tflq.verify import VerifiedFile
from tflq.worker import Task

MEASURE = "measure"


def check_contracts(
    context: RunContext, builds: Sequence[VariantBuild], source: ConvertibleSource
) -> list[VariantBuild]:
    """Check each file against the contract of its mode, and return the builds with what was read from the files."""

    def task(build: VariantBuild) -> Task[VerifiedFile]:
        arguments = (build.path, build.variant, source.prepared, build.named_ops)
        return Task(f"check {build.name}", verify.verify, arguments, EvaluationError)

    checked = run_for_each(context.workers, builds, task, context.jobs)
    return [replace(build, verified=build.verified or verified) for build, verified in checked]


def compression_stats(context: RunContext, builds: Sequence[VariantBuild]) -> list[VariantBuild]:
    """Count zeros and distinct values of each file's weights, and its gzip size, if the recipe prunes or clusters."""
    if not {"prune", "cluster"} & set(context.recipe.techniques):
        return list(builds)

    def task(build: VariantBuild) -> Task[CompressionStats]:
        return Task(f"inspect the weights of {build.name}", verify.compression_stats, (build.path,), EvaluationError)

    counted = run_for_each(context.workers, builds, task, context.jobs)
    return [replace(build, compression=compression) for build, compression in counted]


def smoke_test(
    context: RunContext, builds: Sequence[VariantBuild], source: ConvertibleSource, prepared: PreparedRun
) -> list[VariantBuild]:
    """Run each file once, in a task of its own, since a bad file can kill the process."""

    def task(build: VariantBuild) -> Task[None]:
        arguments = (build.path, prepared.evaluation_rows.arrays, source.prepared.batch is None)
        return Task(f"run {build.name} once", verify.smoke_test, arguments, EvaluationError)

    return [build for build, _ in run_for_each(context.workers, builds, task, context.jobs)]


@dataclass(frozen=True)
class Measurement:
    """The records of the files, and those that they are compared with. All are of the same samples in the same order.

    A record may have fewer samples than another one. It then has the first ones.
    """

    builds: list[VariantBuild]
    float32: Record | TflqError
    """The record of the float32 file; its error is an error of every build, since nothing can be compared then."""
    source: Record | TflqError | None
    """The record of the source, which TensorFlow runs; None if the source is a .tflite file."""
    available: int
    """The number of samples that the recipe selects.

    If the length of the dataset is unknown, it is the number of samples of the float32 file.
    """


def measure(
    context: RunContext,
    builds: Sequence[VariantBuild],
    source: ConvertibleSource,
    prepared: PreparedRun,
    early: EarlyMeasurement,
) -> Measurement:
    """Measure each file and the float32 file on as many samples as the recipe asks for.

    All files are measured together, with the recorded outputs of the source. If that fails, each one is measured alone.
    """
    rows, plan = prepared.evaluation_rows, evaluation_plan(context, source.prepared, prepared)
    budget, plan = budget_of(context.recipe, rows), with_recorded_float32(context, early, plan)
    plans = {build.name: _file_plan(build, plan, budget) for build in builds if _runs(build, plan)}
    plans |= source_plan(context, early, plan)
    together = measure_rounds(context, budget, {MEASURE: _joined(plan, plans.values())})[MEASURE]
    records = _measured_alone(context, budget, plan, plans) if isinstance(together, TflqError) else together
    with_records = [build if build.error else _with_record(build, records) for build in builds]
    float32 = records[FLOAT32]
    if isinstance(float32, TflqError):
        return Measurement(with_records, float32, float32, 0)
    is_known = rows.total is not None and not budget.measures_all
    available = len(rows.indices) if is_known else len(float32.is_finite)
    return Measurement(with_records, float32, source_record(context, early, plan, records), available)


def time_files(context: RunContext, builds: Sequence[VariantBuild], prepared: PreparedRun) -> list[VariantBuild]:
    """Measure the latency of one file after another, so that no file disturbs another one."""
    settings = context.recipe.latency
    if settings == "off":
        return list(builds)

    def task(build: VariantBuild) -> Task[LatencyStats]:
        arguments = (build.path, prepared.evaluation_rows.arrays, (settings.runs, settings.warmup, settings.threads))
        return Task(f"time {build.name}", measuring.time, arguments, EvaluationError)

    timed = run_for_each(context.workers, builds, task, 1)
    return [replace(build, latency=latency) for build, latency in timed]


def _runs(build: VariantBuild, plan: EvaluationPlan) -> bool:
    """Return whether the build has a file to measure. A copy of the float32 file is not measured again."""
    return build.path is not None and not build.error and not filecmp.cmp(build.path, plan.float32, shallow=False)


def _file_plan(build: VariantBuild, plan: EvaluationPlan, budget: MeasurementBudget) -> PlanBudget:
    assert build.path is not None
    slow_work = build.verified.int16_multiply_adds // (plan.source.batch or 1) if build.verified else 0
    return PlanBudget(replace(plan, files={build.name: build.path}), {build.name: budget.most(slow_work)})


def _joined(plan: EvaluationPlan, plans: Iterable[PlanBudget]) -> PlanBudget:
    """Return one plan for all."""
    joined = PlanBudget(plan, {})
    for each in plans:
        together = replace(
            joined.plan,
            files={**joined.plan.files, **each.plan.files},
            runs_source=joined.plan.runs_source or each.plan.runs_source,
            recorded={**joined.plan.recorded, **each.plan.recorded},
        )
        joined = PlanBudget(together, {**joined.most, **each.most})
    return joined


def _measured_alone(
    context: RunContext, budget: MeasurementBudget, plan: EvaluationPlan, plans: Mapping[str, PlanBudget]
) -> Mapping[str, Record | TflqError]:
    """Return the record or the error of each subject. If the float32 file itself fails, there is only its error."""
    stage = f"measure {BASELINE}"
    baseline = measure_rounds(context, budget, {stage: PlanBudget(plan, {})})[stage]
    if isinstance(baseline, TflqError):
        return {FLOAT32: baseline}
    float32, found = baseline[FLOAT32], dict[str, Record | TflqError]()
    for name, each in plans.items():
        records = measure_rounds(context, budget, {f"measure {name}": each})[f"measure {name}"]
        found[name] = records if isinstance(records, TflqError) else records[name]
        if not isinstance(records, TflqError):
            float32 = max(float32, records[FLOAT32], key=lambda record: len(record.is_finite))
    return found | {FLOAT32: float32}


def _with_record(build: VariantBuild, records: Mapping[str, Record | TflqError]) -> VariantBuild:
    record = records.get(build.name, records[FLOAT32])
    return replace(build, error=record) if isinstance(record, TflqError) else replace(build, record=record)
