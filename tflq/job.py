"""The stages of one run, each a call in worker processes: from values to values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tflq import calibrate, convert, evaluate, sources, verify
from tflq.calibrate import Gathered, Samples
from tflq.errors import ConversionError, DatasetError, EvaluationError, SourceError, TflqError
from tflq.evaluate import FLOAT32, SOURCE, Plan, Probe, Record
from tflq.interpreter import Latency
from tflq.modes import Float32, Mode
from tflq.recipe import Recipe
from tflq.result import Weighed
from tflq.rules import Violation
from tflq.sources import Prepared
from tflq.trainer import Pupil, source_of
from tflq.verify import Verified
from tflq.worker import Done, Failed, Task, Workers

T = TypeVar("T")


@dataclass(frozen=True)
class Draft:
    """A variant on its way: what it has become so far, or the error that ended it."""

    variant: Mode | None
    """None for a file that was made elsewhere."""
    name: str
    path: Path | None = None
    verified: Verified | None = None
    weighed: Weighed | None = None
    record: Record | None = None
    latency: Latency | None = None
    error: TflqError | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Base:
    """The float32 file that all others are compared with, which is not among the variants unless asked for."""

    path: Path
    violations: tuple[Violation, ...]


@dataclass(frozen=True)
class Job:
    recipe: Recipe
    folder: Path
    workers: Workers
    jobs: int

    def prepare_source(self) -> Prepared:
        """The float model with its one signature."""
        arguments = (self.recipe.model, self.recipe.inputs, self.folder / "source")
        return self.workers.run(Task("read the source", sources.prepare, arguments, SourceError)).value

    def choose_samples(self, source: Prepared) -> Probe:
        """Which rows are measured, and a first sample that shows whether rows and model fit."""
        arguments = (self.recipe.measured_on, self.recipe.inputs, source)
        return self.workers.run(Task("open the evaluation data", evaluate.probe, arguments, DatasetError)).value

    def gather_calibration(self, source: Prepared) -> Done[Gathered] | Failed | None:
        """The samples for ranges; None where no variant takes any."""
        if self.recipe.calibration is None or not any(variant.needs_ranges for variant in self.recipe.variants):
            return None
        arguments = (self.recipe.calibration, self.recipe.inputs, source, self.folder / "calibration")
        task = Task("read the calibration data", calibrate.gather, arguments, DatasetError)
        return self.workers.run_all([task], jobs=1)[0]

    def make_float32(self, source: Prepared) -> Base:
        """The float32 file that all others are compared with."""
        variants = self.recipe.variants
        float32 = Float32(
            allow_custom_ops=any(variant.allow_custom_ops for variant in variants),
            select_tf_ops=any(variant.select_tf_ops for variant in variants),
        )
        path, name = self.folder / "float32.tflite", "float32, the base line"
        self.workers.run(_conversion(Draft(float32, name), source, None, path))
        check = Task(f"check {name}", verify.verify, (path, float32, source), EvaluationError)
        return Base(path, self.workers.run(check).value.violations)

    def convert(
        self, source: Prepared, calibration: Done[Gathered] | Failed | None, trained: Done[Pupil] | Failed | None
    ) -> list[Draft]:
        """A file for every variant that can be made."""
        drafts = [Draft(variant, variant.name) for variant in self.recipe.variants]
        if isinstance(trained, Failed):
            drafts = [replace(d, error=trained.error) if d.variant and d.variant.trained else d for d in drafts]
        if isinstance(calibration, Failed):
            drafts = [
                replace(d, error=calibration.error) if d.variant and d.variant.needs_ranges else d for d in drafts
            ]
        samples = calibration.value.samples if isinstance(calibration, Done) else None
        paths = {draft.name: self.folder / file_name(self.recipe, draft.name) for draft in drafts}

        def task(draft: Draft) -> Task[None]:
            return _conversion(draft, source_of(draft.variant, source, trained), samples, paths[draft.name])

        return [replace(d, path=None if d.error else paths[d.name]) for d, _ in self._each(drafts, task, self.jobs)]

    def verify(self, drafts: Sequence[Draft], source: Prepared) -> list[Draft]:
        """Each file read back and held to its contract."""

        def task(draft: Draft) -> Task[Verified]:
            return Task(f"check {draft.name}", verify.verify, (draft.path, draft.variant, source), EvaluationError)

        return [replace(d, verified=d.verified or verified) for d, verified in self._each(drafts, task, self.jobs)]

    def weigh(self, drafts: Sequence[Draft]) -> list[Draft]:
        """What pruning and clustering are for: zeros and distinct values of each file, and its size over the wire."""
        if not {"prune", "cluster"} & set(self.recipe.techniques):
            return list(drafts)

        def task(draft: Draft) -> Task[Weighed]:
            return Task(f"weigh {draft.name}", verify.weigh, (draft.path,), EvaluationError)

        return [replace(draft, weighed=weighed) for draft, weighed in self._each(drafts, task, self.jobs)]

    def try_out(self, drafts: Sequence[Draft], probe: Probe, source: Prepared) -> list[Draft]:
        """Each file run once, in a process of its own, since a bad file can kill it."""

        def task(draft: Draft) -> Task[None]:
            arguments = (draft.path, probe.arrays, source.batch is None)
            return Task(f"try {draft.name}", verify.try_out, arguments, EvaluationError)

        return [draft for draft, _ in self._each(drafts, task, self.jobs)]

    def measure(self, drafts: Sequence[Draft], probe: Probe, plan: Plan) -> tuple[list[Draft], Record | TflqError]:
        """Each file over all samples, and the float32 file: in one pass together, or one by one where that fails.

        An error of the float32 file is that of all, since nothing can be compared then.
        """
        able = [draft for draft in drafts if not draft.error]
        together = self._records(replace(plan, files=_files(able)), probe, "measure")
        if not isinstance(together, TflqError):
            return [_with_record(d, together[d.name]) if d in able else d for d in drafts], together[FLOAT32]
        base = self._records(plan, probe, "measure float32, the base line")
        if isinstance(base, TflqError):
            return [_with_record(d, base) if d in able else d for d in drafts], base
        return [self._alone(d, probe, plan) if d in able else d for d in drafts], base[FLOAT32]

    def _alone(self, draft: Draft, probe: Probe, plan: Plan) -> Draft:
        records = self._records(replace(plan, files=_files([draft])), probe, f"measure {draft.name}")
        return _with_record(draft, records if isinstance(records, TflqError) else records[draft.name])

    def measure_source(self, probe: Probe, plan: Plan) -> Record | TflqError:
        """The source itself, run by TensorFlow over all samples."""
        records = self._records(replace(plan, runs_source=True), probe, "measure the source")
        return records if isinstance(records, TflqError) else records[SOURCE]

    def _records(self, plan: Plan, probe: Probe, stage: str) -> dict[str, Record] | TflqError:
        count = max(1, min(self.jobs, len(probe.indices)))
        shards = [probe.indices[start::count] for start in range(count)]
        tasks = [
            Task(stage if count == 1 else f"{stage}, part {part}", evaluate.measure, (plan, shard), EvaluationError)
            for part, shard in enumerate(shards, 1)
        ]
        outcomes = self.workers.run_all(tasks, self.jobs)
        failed = [outcome.error for outcome in outcomes if isinstance(outcome, Failed)]
        if failed:
            return failed[0]
        done = [outcome.value for outcome in outcomes if isinstance(outcome, Done)]
        return evaluate.merge(done)

    def time(self, drafts: Sequence[Draft], probe: Probe) -> list[Draft]:
        """The latency of each file, one after the other, so that none is disturbed by another."""
        settings = self.recipe.latency
        if settings == "off":
            return list(drafts)

        def task(draft: Draft) -> Task[Latency]:
            arguments = (draft.path, probe.arrays, (settings.runs, settings.warmup, settings.threads))
            return Task(f"time {draft.name}", evaluate.time, arguments, EvaluationError)

        return [replace(draft, latency=latency) for draft, latency in self._each(drafts, task, 1)]

    def _each(
        self, drafts: Sequence[Draft], task: Callable[[Draft], Task[T]], jobs: int
    ) -> list[tuple[Draft, T | None]]:
        """Run a task for every draft that has no error yet: the drafts, with its error or its time, and results."""
        able = [draft for draft in drafts if not draft.error]
        made = self.workers.run_all([task(draft) for draft in able], jobs)
        outcomes = dict(zip([draft.name for draft in able], made, strict=True))
        return list(map(_after, drafts, [outcomes.get(draft.name) for draft in drafts]))


def file_name(recipe: Recipe, variant: str) -> str:
    return f"{recipe.name}-{variant}.tflite"


def _after(draft: Draft, outcome: Done[T] | Failed | None) -> tuple[Draft, T | None]:
    if outcome is None:
        return draft, None
    seconds = draft.seconds + outcome.seconds
    if isinstance(outcome, Failed):
        return replace(draft, error=outcome.error, seconds=seconds), None
    return replace(draft, seconds=seconds), outcome.value


def _conversion(draft: Draft, source: Prepared, samples: Samples | None, path: Path) -> Task[None]:
    arguments = (source, draft.variant, samples, path)
    return Task(f"convert {draft.name}", convert.convert, arguments, ConversionError, remedy=CRASH_REMEDY)


def _files(drafts: Sequence[Draft]) -> dict[str, Path]:
    return {draft.name: draft.path for draft in drafts if draft.path}


def _with_record(draft: Draft, record: Record | TflqError) -> Draft:
    return replace(draft, error=record) if isinstance(record, TflqError) else replace(draft, record=record)


CRASH_REMEDY = (
    "TensorFlow is known to die of Inf in an activation, and of Keras 3's recurrent layers where it calibrates them;"
    " dynamic and float16 need no calibration"
)
