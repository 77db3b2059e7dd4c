"""The stages that check each file on the targets of the recipe, and run it in the interpreter of a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tflq.errors import EvaluationError, TflqError
from tflq.firmware.io_row import IoRow
from tflq.firmware.making import file_inputs
from tflq.stages.context import RunContext
from tflq.stages.sample_calls import sample_calls
from tflq.stages.state import ConvertibleSource, PreparedRun
from tflq.stages.variant_build import VariantBuild, run_for_each
from tflq.targets.micro_run import EXTRA, MicroRun, run_micro
from tflq.targets.schema import Target
from tflq.targets.target_verdict import TargetVerdict
from tflq.targets.tools import has_micro
from tflq.targets.verdict import file_verdicts
from tflq.worker import Done, ProgressCallback, Task


def check_targets(context: RunContext, builds: Sequence[VariantBuild]) -> list[VariantBuild]:
    """Return the builds with a verdict for each target. A file that a target does not run is no error of the build."""
    targets = context.recipe.checked_targets
    if not targets:
        return list(builds)

    def task(build: VariantBuild) -> Task[tuple[TargetVerdict, ...]]:
        return Task(f"check {build.name} on targets", _verdicts, (build.path, targets), EvaluationError)

    checked = run_for_each(context.workers, builds, task, context.jobs)
    return [replace(build, targets=verdicts or ()) for build, verdicts in checked]


def _verdicts(_: ProgressCallback, path: Path, targets: Sequence[Target]) -> tuple[TargetVerdict, ...]:
    return file_verdicts(path, targets)


def run_on_targets(
    context: RunContext, builds: Sequence[VariantBuild], source: ConvertibleSource, prepared: PreparedRun
) -> list[VariantBuild]:
    """Return the builds with what TensorFlow Lite Micro did with files that it has all ops of.

    Without the interpreter, the verdict says what would install it.
    """
    waiting = [build for build in builds if not build.error and any(map(_is_to_run, build.targets))]
    if not waiting:
        return list(builds)
    if not has_micro():
        return [replace(build, targets=tuple(map(_without_run, build.targets))) for build in builds]
    calls = sample_calls(context, source.prepared, prepared)
    if isinstance(calls, TflqError):
        return [replace(build, error=build.error or calls) for build in builds]
    outcomes = context.workers.run_all([_task(build, calls) for build in waiting], context.jobs)
    runs = {
        build.name: outcome.value if isinstance(outcome, Done) else MicroRun(len(calls), error=str(outcome.error))
        for build, outcome in zip(waiting, outcomes, strict=True)
    }
    return [_with_run(build, runs.get(build.name)) for build in builds]


def _is_to_run(verdict: TargetVerdict) -> bool:
    return verdict.plan is not None and verdict.outcome != "does not run"


def _without_run(verdict: TargetVerdict) -> TargetVerdict:
    if not _is_to_run(verdict):
        return verdict
    sentence = f"Whether its answers are right there: with {EXTRA}, tflq runs the file in the target's own interpreter."
    return replace(verdict, not_known=(*verdict.not_known, sentence))


def _with_run(build: VariantBuild, run: MicroRun | None) -> VariantBuild:
    if run is None:
        return build
    return replace(build, targets=tuple(each.with_run(run) if _is_to_run(each) else each for each in build.targets))


def _task(build: VariantBuild, calls: Sequence[Mapping[str, np.ndarray]]) -> Task[MicroRun]:
    planned = max((verdict.ram_bytes for verdict in build.targets if verdict.ram_bytes is not None), default=0)
    rows = build.verified.file.io if build.verified else ()
    stage = f"run {build.name} in TensorFlow Lite Micro"
    return Task(stage, _run, (build.path, planned, rows, calls), EvaluationError)


def _run(
    _: ProgressCallback, path: Path, planned: int, rows: tuple[IoRow, ...], calls: Sequence[Mapping[str, np.ndarray]]
) -> MicroRun:
    return run_micro(path.read_bytes(), [file_inputs(rows, call) for call in calls], planned)
