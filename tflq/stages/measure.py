"""The last stages: check files against their contracts, run them once, measure them, and time them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tflq import evaluate, verify
from tflq.calibrate import CalibrationSamples
from tflq.errors import EvaluationError, TflqError
from tflq.evaluate import FLOAT32, SOURCE, EvaluationPlan, EvaluationRows, Record
from tflq.interpreter import LatencyStats
from tflq.result import CompressionStats
from tflq.sources import PreparedSource
from tflq.stages.context import RunContext
from tflq.stages.prepare import BASELINE
from tflq.stages.state import ConvertibleSource, PreparedRun
from tflq.stages.variant_build import VariantBuild, run_for_each
from tflq.verify import VerifiedFile
from tflq.worker import Done, Failed, Task

MIN_SAMPLES_PER_SOURCE_PROCESS = 64
"""The least number of samples for which another process loads the source."""


def check_contracts(
    context: RunContext, builds: Sequence[VariantBuild], source: ConvertibleSource
) -> list[VariantBuild]:
    """Check each file against the contract of its mode, and return the builds with what was read from the files."""

    def task(build: VariantBuild) -> Task[VerifiedFile]:
        arguments = (build.path, build.variant, source.prepared, build.kept_in_float)
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
    """The records of the files, and those that they are compared with."""

    builds: list[VariantBuild]
    float32: Record | TflqError
    """The record of the float32 file; its error is an error of every build, since nothing can be compared then."""
    source: Record | TflqError
    """The record of the source, which TensorFlow runs."""


def measure(
    context: RunContext, builds: Sequence[VariantBuild], source: ConvertibleSource, prepared: PreparedRun
) -> Measurement:
    """Measure each file, the float32 file and the source on all evaluation samples.

    All files are measured in one pass. If that pass fails, each file is measured alone.
    """
    evaluation_rows, plan = prepared.evaluation_rows, evaluation_plan(context, source.prepared, prepared)
    files = {build.name: build.path for build in builds if build.path and not build.error}
    cached = context.cache.load_source_record(plan.float32, plan.source, context.folder / "cached answers")
    plans = {"measure": replace(plan, files=files)}
    if cached is None:
        plans["measure the source"] = replace(plan, runs_source=True)
    together, *source_records = _records(context, evaluation_rows, plans)
    source_record = cached or _source_record(context, source_records[0], plan)
    if not isinstance(together, TflqError):
        measured = [_with_record(build, together[build.name]) if not build.error else build for build in builds]
        return Measurement(measured, together[FLOAT32], source_record)
    (baseline,) = _records(context, evaluation_rows, {f"measure {BASELINE}": plan})
    if isinstance(baseline, TflqError):
        failed = [_with_record(build, baseline) if not build.error else build for build in builds]
        return Measurement(failed, baseline, baseline)
    alone = [_measured_alone(context, build, evaluation_rows, plan) if not build.error else build for build in builds]
    return Measurement(alone, baseline[FLOAT32], source_record)


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


def _source_record(
    context: RunContext, records: dict[str, Record] | TflqError, plan: EvaluationPlan
) -> Record | TflqError:
    if isinstance(records, TflqError):
        return records
    key = plan.float32, plan.source
    context.cache.save_source_record(records[SOURCE], key, context.folder / "new answers")
    return records[SOURCE]


def _measured_alone(
    context: RunContext, build: VariantBuild, evaluation_rows: EvaluationRows, plan: EvaluationPlan
) -> VariantBuild:
    assert build.path is not None
    alone = replace(plan, files={build.name: build.path})
    (records,) = _records(context, evaluation_rows, {f"measure {build.name}": alone})
    return _with_record(build, records if isinstance(records, TflqError) else records[build.name])


def _records(
    context: RunContext, evaluation_rows: EvaluationRows, plans: Mapping[str, EvaluationPlan]
) -> list[dict[str, Record] | TflqError]:
    """Return the records of each plan; plans run at the same time, and each is sharded over workers."""
    tasks = {stage: list(_shards(stage, plan, evaluation_rows, context.jobs)) for stage, plan in plans.items()}
    outcomes = iter(context.workers.run_all([task for shards in tasks.values() for task in shards], context.jobs))
    return [_merged([next(outcomes) for _ in shards]) for shards in tasks.values()]


def _shards(
    stage: str, plan: EvaluationPlan, evaluation_rows: EvaluationRows, jobs: int
) -> Iterator[Task[dict[str, Record]]]:
    """Yield one task for each worker; fewer for the source, which takes seconds to load."""
    useful = (
        len(evaluation_rows.indices) // MIN_SAMPLES_PER_SOURCE_PROCESS
        if plan.runs_source
        else len(evaluation_rows.indices)
    )
    count = max(1, min(jobs, useful))
    for first in range(count):
        name = stage if count == 1 else f"{stage}, part {first + 1}"
        yield Task(name, evaluate.measure, (plan, evaluation_rows.indices[first::count]), EvaluationError)


def _merged(outcomes: Sequence[Done[dict[str, Record]] | Failed]) -> dict[str, Record] | TflqError:
    failed = [outcome.error for outcome in outcomes if isinstance(outcome, Failed)]
    return failed[0] if failed else evaluate.merge([outcome.get() for outcome in outcomes])


def _with_record(build: VariantBuild, record: Record | TflqError) -> VariantBuild:
    return replace(build, error=record) if isinstance(record, TflqError) else replace(build, record=record)
