"""Files checked, tried out, measured and timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tflq import evaluate, verify
from tflq.calibrate import CalibrationSamples
from tflq.errors import EvaluationError, TflqError
from tflq.evaluate import FLOAT32, SOURCE, Plan, Probe, Record
from tflq.interpreter import Latency
from tflq.recipe import Recipe
from tflq.result import Weighed
from tflq.sources import Prepared
from tflq.stages.recipe_cache import RecipeCache
from tflq.stages.state import PreparedRun
from tflq.stages.variant_build import VariantBuild, run_for_each
from tflq.verify import Verified
from tflq.worker import Done, Failed, Task, Workers

FEWEST_FOR_THE_SOURCE = 64
"""Samples that are worth another process that loads the source."""


@dataclass(frozen=True)
class Judge:
    recipe: Recipe
    folder: Path
    workers: Workers
    jobs: int
    recipe_cache: RecipeCache

    def plan(self, source: Prepared, prepared_run: PreparedRun) -> Plan:
        """What is measured on what, the files apart."""
        return Plan(
            evaluation=self.recipe.measured_on,
            inputs=self.recipe.inputs,
            source=source,
            float32=prepared_run.float32.path,
            first=prepared_run.probe.arrays,
            files={},
            calibrated_with=frozenset(
                prepared_run.calibration_samples.hashes
                if isinstance(prepared_run.calibration_samples, CalibrationSamples)
                else ()
            ),
        )

    def verify(self, builds: Sequence[VariantBuild], source: Prepared) -> list[VariantBuild]:
        """Each file read back and held to its contract."""

        def task(build: VariantBuild) -> Task[Verified]:
            arguments = (build.path, build.variant, source, build.kept_in_float)
            return Task(f"check {build.name}", verify.verify, arguments, EvaluationError)

        return [
            replace(d, verified=d.verified or verified)
            for d, verified in run_for_each(self.workers, builds, task, self.jobs)
        ]

    def weigh(self, builds: Sequence[VariantBuild]) -> list[VariantBuild]:
        """What pruning and clustering are for: zeros and distinct values of each file, and its size over the wire."""
        if not {"prune", "cluster"} & set(self.recipe.techniques):
            return list(builds)

        def task(build: VariantBuild) -> Task[Weighed]:
            return Task(f"weigh {build.name}", verify.weigh, (build.path,), EvaluationError)

        return [
            replace(build, compression=weighed)
            for build, weighed in run_for_each(self.workers, builds, task, self.jobs)
        ]

    def try_out(self, builds: Sequence[VariantBuild], probe: Probe, source: Prepared) -> list[VariantBuild]:
        """Each file run once, in a process of its own, since a bad file can kill it."""

        def task(build: VariantBuild) -> Task[None]:
            arguments = (build.path, probe.arrays, source.batch is None)
            return Task(f"try {build.name}", verify.try_out, arguments, EvaluationError)

        return [build for build, _ in run_for_each(self.workers, builds, task, self.jobs)]

    def measure(
        self, builds: Sequence[VariantBuild], probe: Probe, plan: Plan
    ) -> tuple[list[VariantBuild], Record | TflqError, Record | TflqError]:
        """Each file over all samples, the float32 file, and the source itself as TensorFlow runs it.

        The files are measured in one pass together, or one by one where that fails. An error of the float32 file is
        that of all, since nothing can be compared then.
        """
        able = [build for build in builds if not build.error]
        original: Record | TflqError | None = self.recipe_cache.load_answers(
            plan.float32, plan.source, self.folder / "kept answers"
        )
        plans = {"measure": replace(plan, files=_files(able)), "measure the source": replace(plan, runs_source=True)}
        together, *source = self._records(probe, plans if original is None else {"measure": plans["measure"]})
        original = original or self._original(source[0], plan)
        if not isinstance(together, TflqError):
            measured = [_with_record(d, together[d.name]) if d in able else d for d in builds]
            return measured, together[FLOAT32], original
        (base,) = self._records(probe, {"measure float32, the base line": plan})
        if isinstance(base, TflqError):
            return [_with_record(d, base) if d in able else d for d in builds], base, base
        return [self._alone(d, probe, plan) if d in able else d for d in builds], base[FLOAT32], original

    def _original(self, records: dict[str, Record] | TflqError, plan: Plan) -> Record | TflqError:
        if isinstance(records, TflqError):
            return records
        self.recipe_cache.save_answers(records[SOURCE], (plan.float32, plan.source), self.folder / "new answers")
        return records[SOURCE]

    def _alone(self, build: VariantBuild, probe: Probe, plan: Plan) -> VariantBuild:
        (records,) = self._records(probe, {f"measure {build.name}": replace(plan, files=_files([build]))})
        return _with_record(build, records if isinstance(records, TflqError) else records[build.name])

    def _records(self, probe: Probe, plans: Mapping[str, Plan]) -> list[dict[str, Record] | TflqError]:
        """For each stage and its plan what was measured, sharded over workers; the stages run side by side."""
        tasks = {stage: list(self._shards(stage, plan, probe)) for stage, plan in plans.items()}
        outcomes = iter(self.workers.run_all([task for shards in tasks.values() for task in shards], self.jobs))
        return [_merged([next(outcomes) for _ in shards]) for shards in tasks.values()]

    def _shards(self, stage: str, plan: Plan, probe: Probe) -> Iterator[Task[dict[str, Record]]]:
        """Of the source, which takes seconds to load, fewer than of the files."""
        worth = len(probe.indices) // FEWEST_FOR_THE_SOURCE if plan.runs_source else len(probe.indices)
        count = max(1, min(self.jobs, worth))
        for first in range(count):
            name = stage if count == 1 else f"{stage}, part {first + 1}"
            yield Task(name, evaluate.measure, (plan, probe.indices[first::count]), EvaluationError)

    def time(self, builds: Sequence[VariantBuild], probe: Probe) -> list[VariantBuild]:
        """The latency of each file, one after the other, so that none is disturbed by another."""
        settings = self.recipe.latency
        if settings == "off":
            return list(builds)

        def task(build: VariantBuild) -> Task[Latency]:
            arguments = (build.path, probe.arrays, (settings.runs, settings.warmup, settings.threads))
            return Task(f"time {build.name}", evaluate.time, arguments, EvaluationError)

        return [replace(build, latency=latency) for build, latency in run_for_each(self.workers, builds, task, 1)]


def _merged(outcomes: Sequence[Done[dict[str, Record]] | Failed]) -> dict[str, Record] | TflqError:
    failed = [outcome.error for outcome in outcomes if isinstance(outcome, Failed)]
    return failed[0] if failed else evaluate.merge([outcome.get() for outcome in outcomes])


def _files(builds: Sequence[VariantBuild]) -> dict[str, Path]:
    return {build.name: build.path for build in builds if build.path}


def _with_record(build: VariantBuild, record: Record | TflqError) -> VariantBuild:
    return replace(build, error=record) if isinstance(record, TflqError) else replace(build, record=record)
