"""The state of a variant's build, which each stage takes and returns with its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tflq.contract import NO_OPS, NamedOps
from tflq.errors import TflqError
from tflq.evaluate.record import Record
from tflq.interpreter import LatencyStats
from tflq.modes import Mode
from tflq.recipe import Recipe
from tflq.refine import RefinementReport
from tflq.result import CompressionStats, Finding, LayerFigures
from tflq.rules.violation import Violation
from tflq.targets.target_verdict import TargetVerdict
from tflq.verify import VerifiedFile
from tflq.worker import Done, Failed, Task, Workers

T = TypeVar("T")


@dataclass(frozen=True)
class VariantBuild:
    """A variant with the results of the stages so far, or with the error that ended its build."""

    variant: Mode | None
    """None for a file that this run did not convert."""
    name: str
    path: Path | None = None
    """The path of the file; None if there is no file yet."""
    origin: Path | None = None
    """The float32 file that it is quantized from, if that is not the baseline, such as an equalized one."""
    named_ops: NamedOps = NO_OPS
    """The ops of the file that keep_float and keep_int16 name."""
    refinement: RefinementReport | None = None
    """The report of the corrections before quantization; None if the variant requests none."""
    verified: VerifiedFile | None = None
    targets: tuple[TargetVerdict, ...] = ()
    artifacts: tuple[str, ...] = ()
    """The names of the source files for firmware."""
    compression: CompressionStats | None = None
    record: Record | None = None
    latency: LatencyStats | None = None
    layers: LayerFigures | None = None
    error: TflqError | None = None
    seconds: float = 0.0
    """The time of all stages so far."""
    findings: tuple[Finding, ...] = ()
    is_reproduced: bool | None = None
    """Whether a second conversion gave the same bytes; None if there was none."""

    @property
    def needs_ranges(self) -> bool:
        return self.variant is not None and self.variant.needs_ranges

    def with_outcome(self, outcome: Done[T] | Failed) -> VariantBuild:
        """Return the build with the time of one more stage, and with the error of the stage if it failed."""
        seconds = self.seconds + outcome.seconds
        return replace(self, seconds=seconds, error=outcome.error if isinstance(outcome, Failed) else None)


@dataclass(frozen=True)
class Float32Baseline:
    """The float32 file that all other files are compared with; it need not be a variant of the recipe."""

    path: Path
    violations: tuple[Violation, ...]
    """The violations of the contract of float32."""


def run_for_each(
    workers: Workers, builds: Sequence[VariantBuild], task: Callable[[VariantBuild], Task[T]], jobs: int
) -> list[tuple[VariantBuild, T | None]]:
    """Run a task for every build without an error; return all builds with their time or error, and the results."""
    runnable = [build for build in builds if not build.error]
    all_outcomes = workers.run_all([task(build) for build in runnable], jobs)
    outcomes = dict(zip([build.name for build in runnable], all_outcomes, strict=True))
    results: list[tuple[VariantBuild, T | None]] = []
    for build in builds:
        outcome = outcomes.get(build.name)
        value = outcome.value if isinstance(outcome, Done) else None
        results.append((build.with_outcome(outcome) if outcome else build, value))
    return results


def file_name(recipe: Recipe, variant: str) -> str:
    """Return the name of the variant's file in the output folder."""
    return f"{recipe.name}-{variant}.tflite"
