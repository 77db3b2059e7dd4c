"""The stage that judges each file on the targets of the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tflq.errors import EvaluationError
from tflq.stages.context import RunContext
from tflq.stages.variant_build import VariantBuild, run_for_each
from tflq.targets import Target, TargetVerdict, judge_file
from tflq.worker import ProgressCallback, Task


def judge_targets(context: RunContext, builds: Sequence[VariantBuild]) -> list[VariantBuild]:
    """Return the builds with a verdict for each target. A file that a target does not run is no error of the build."""
    targets = context.recipe.judged_on
    if not targets:
        return list(builds)

    def task(build: VariantBuild) -> Task[tuple[TargetVerdict, ...]]:
        return Task(f"judge {build.name} on targets", _judge, (build.path, targets), EvaluationError)

    judged = run_for_each(context.workers, builds, task, context.jobs)
    return [replace(build, targets=verdicts or ()) for build, verdicts in judged]


def _judge(_: ProgressCallback, path: Path, targets: Sequence[Target]) -> tuple[TargetVerdict, ...]:
    return judge_file(path, targets)
