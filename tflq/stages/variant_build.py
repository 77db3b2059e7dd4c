"""What becomes of a variant from stage to stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tflq.errors import TflqError
from tflq.evaluate import Record
from tflq.interpreter import LatencyStats
from tflq.modes import Mode
from tflq.recipe import Recipe
from tflq.refine import RefinementReport
from tflq.result import CompressionStats
from tflq.rules import Violation
from tflq.verify import VerifiedFile
from tflq.worker import Done, Failed, Task, Workers

T = TypeVar("T")


@dataclass(frozen=True)
class VariantBuild:
    """A variant on its way: what it has become so far, or the error that ended it."""

    variant: Mode | None
    """None for a file that was made elsewhere."""
    name: str
    path: Path | None = None
    kept_in_float: tuple[int, ...] = ()
    """The ops of the file that are in float because keep_float names them."""
    refinement: RefinementReport | None = None
    """What was done before it was quantized; None where nothing was asked for."""
    verified: VerifiedFile | None = None
    compression: CompressionStats | None = None
    record: Record | None = None
    latency: LatencyStats | None = None
    error: TflqError | None = None
    seconds: float = 0.0
    is_reproduced: bool | None = None
    """Whether it came out the same when it was made again; None where it was not."""

    @property
    def needs_ranges(self) -> bool:
        return self.variant is not None and self.variant.needs_ranges

    def with_outcome(self, outcome: Done[T] | Failed) -> VariantBuild:
        """The build, with the time that a stage took, and its error if it failed."""
        seconds = self.seconds + outcome.seconds
        return replace(self, seconds=seconds, error=outcome.error if isinstance(outcome, Failed) else None)


@dataclass(frozen=True)
class Float32Baseline:
    """The float32 file that all others are compared with, which is not among the variants unless asked for."""

    path: Path
    violations: tuple[Violation, ...]


def run_for_each(
    workers: Workers, builds: Sequence[VariantBuild], task: Callable[[VariantBuild], Task[T]], jobs: int
) -> list[tuple[VariantBuild, T | None]]:
    """Run a task for every build that has no error yet: the builds, with its error or its time, and results."""
    able = [build for build in builds if not build.error]
    made = workers.run_all([task(build) for build in able], jobs)
    outcomes = dict(zip([build.name for build in able], made, strict=True))
    after: list[tuple[VariantBuild, T | None]] = []
    for build in builds:
        outcome = outcomes.get(build.name)
        value = outcome.value if isinstance(outcome, Done) else None
        after.append((build.with_outcome(outcome) if outcome else build, value))
    return after


def file_name(recipe: Recipe, variant: str) -> str:
    return f"{recipe.name}-{variant}.tflite"
