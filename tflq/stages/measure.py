"""The last stages: check files against their contracts, run them once, measure them, and time them."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tflq import evaluate, verify
from tflq.calibrate import CalibrationSamples
from tflq.errors import EvaluationError, TflqError
from tflq.evaluate import FLOAT32, SOURCE, EvaluationPlan, Record
from tflq.interpreter import LatencyStats
from tflq.result import CompressionStats
from tflq.sources import PreparedSource
from tflq.stages.context import RunContext
from tflq.stages.measurement_budget import MeasurementBudget, budget_of
from tflq.stages.measurement_rounds import BackgroundRound, PlanBudget, begin_round, measure_rounds
from tflq.stages.prepare import BASELINE
from tflq.stages.state import ConvertibleSource, PreparedRun
from tflq.stages.variant_build import VariantBuild, run_for_each
from tflq.verify import VerifiedFile
from tflq.worker import Task

MEASURE, MEASURE_SOURCE = "measure", "measure the source"


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


def evaluation_plan(context: RunContext, source: PreparedSource, prepared: PreparedRun) -> EvaluationPlan:
    """Return the plan of the measurement, still without the files to measure."""
    samples = prepared.calibration_samples
    return EvaluationPlan(
        evaluation=context.recipe.measured_on,
        inputs=context.recipe.inputs,
        source=source,
        float32=prepared.float32.path,
        first=prepared.evaluation_rows.arrays,
        files={},
        calibrated_with=frozenset(samples.hashes if isinstance(samples, CalibrationSamples) else ()),
    )


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


def begin_source_measurement(
    context: RunContext, source: ConvertibleSource, prepared: PreparedRun
) -> BackgroundRound | Record | None:
    """Begin to measure the source in the background, or return its record from the cache; None for a .tflite file."""
    plan = evaluation_plan(context, source.prepared, prepared)
    cached = context.cache.load_source_record(plan.float32, plan.source, context.folder / "cached answers")
    if cached is not None or source.prepared.is_tflite:
        return cached
    budget = budget_of(context.recipe, prepared.evaluation_rows)
    planned = PlanBudget(replace(plan, runs_source=True), {SOURCE: budget.first(budget.limit)})
    return begin_round(context, budget, MEASURE_SOURCE, planned)


def measure(
    context: RunContext,
    builds: Sequence[VariantBuild],
    source: ConvertibleSource,
    prepared: PreparedRun,
    source_measurement: BackgroundRound | Record | None,
) -> Measurement:
    """Measure each file and the float32 file on as many samples as the recipe asks for.

    All files are measured together. If that fails, each file is measured alone. The record of the source is that of
    `begin_source_measurement`.
    """
    rows, plan = prepared.evaluation_rows, evaluation_plan(context, source.prepared, prepared)
    budget = budget_of(context.recipe, rows)
    files = {build.name: _file_plan(build, plan, budget) for build in builds if _runs(build, plan)}
    together = measure_rounds(context, budget, {MEASURE: _joined(plan, files.values())})[MEASURE]
    source_record: Record | TflqError | None
    if isinstance(source_measurement, BackgroundRound):
        source_record = _source_record(context, source_measurement, plan)
    else:
        source_record = source_measurement
    records = _measured_alone(context, budget, plan, files) if isinstance(together, TflqError) else together
    with_records = [build if build.error else _with_record(build, records) for build in builds]
    float32 = records[FLOAT32]
    if isinstance(float32, TflqError):
        return Measurement(with_records, float32, float32, 0)
    is_known = rows.total is not None and not budget.measures_all
    available = len(rows.indices) if is_known else len(float32.is_finite)
    return Measurement(with_records, float32, source_record, available)


def time_files(context: RunContext, builds: Sequence[VariantBuild], prepared: PreparedRun) -> list[VariantBuild]:
    """Measure the latency of one file after another, so that no file disturbs another one."""
    settings = context.recipe.latency
    if settings == "off":
        return list(builds)

    def task(build: VariantBuild) -> Task[LatencyStats]:
        arguments = (build.path, prepared.evaluation_rows.arrays, (settings.runs, settings.warmup, settings.threads))
        return Task(f"time {build.name}", evaluate.time, arguments, EvaluationError)

    timed = run_for_each(context.workers, builds, task, 1)
    return [replace(build, latency=latency) for build, latency in timed]


def _runs(build: VariantBuild, plan: EvaluationPlan) -> bool:
    """Return whether the build has a file to measure. A copy of the float32 file is not measured again."""
    return build.path is not None and not build.error and not filecmp.cmp(build.path, plan.float32, shallow=False)


def _file_plan(build: VariantBuild, plan: EvaluationPlan, budget: MeasurementBudget) -> PlanBudget:
    assert build.path is not None
    slow_work = build.verified.int16_multiply_adds // (plan.source.batch or 1) if build.verified else 0
    return PlanBudget(replace(plan, files={build.name: build.path}), {build.name: budget.most(slow_work)})


def _joined(plan: EvaluationPlan, files: Iterable[PlanBudget]) -> PlanBudget:
    """Return one plan for all files."""
    joined = PlanBudget(plan, {})
    for each in files:
        together = replace(joined.plan, files={**joined.plan.files, **each.plan.files})
        joined = PlanBudget(together, {**joined.most, **each.most})
    return joined


def _source_record(context: RunContext, measured: BackgroundRound, plan: EvaluationPlan) -> Record | TflqError:
    records = measured.records(context.workers, context.jobs)
    if isinstance(records, TflqError):
        return records
    key = plan.float32, plan.source
    context.cache.save_source_record(records[SOURCE], key, context.folder / "new answers")
    return records[SOURCE]


def _measured_alone(
    context: RunContext, budget: MeasurementBudget, plan: EvaluationPlan, files: Mapping[str, PlanBudget]
) -> Mapping[str, Record | TflqError]:
    """Return the record or the error of each file. If the float32 file itself fails, there is only its error."""
    stage = f"measure {BASELINE}"
    baseline = measure_rounds(context, budget, {stage: PlanBudget(plan, {})})[stage]
    if isinstance(baseline, TflqError):
        return {FLOAT32: baseline}
    float32, found = baseline[FLOAT32], dict[str, Record | TflqError]()
    for name, each in files.items():
        records = measure_rounds(context, budget, {f"measure {name}": each})[f"measure {name}"]
        found[name] = records if isinstance(records, TflqError) else records[name]
        if not isinstance(records, TflqError):
            float32 = max(float32, records[FLOAT32], key=lambda record: len(record.is_finite))
    return found | {FLOAT32: float32}


def _with_record(build: VariantBuild, records: Mapping[str, Record | TflqError]) -> VariantBuild:
    record = records.get(build.name, records[FLOAT32])
    return replace(build, error=record) if isinstance(record, TflqError) else replace(build, record=record)
