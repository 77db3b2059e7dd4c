"""What becomes of a variant from stage to stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tflq.errors import TflqError
from tflq.evaluate import Record
from tflq.interpreter import Latency
from tflq.modes import Mode
from tflq.recipe import Recipe
from tflq.refine import Refinement
from tflq.result import Weighed
from tflq.rules import Violation
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
    kept: tuple[int, ...] = ()
    """The ops of the file that are in float because keep_float names them."""
    refinement: Refinement | None = None
    """What was done before it was quantized; None where nothing was asked for."""
    verified: Verified | None = None
    weighed: Weighed | None = None
    record: Record | None = None
    latency: Latency | None = None
    error: TflqError | None = None
    seconds: float = 0.0
    is_reproduced: bool | None = None
    """Whether it came out the same when it was made again; None where it was not."""

    def after(self, outcome: Done[T] | Failed) -> Draft:
        """The draft, with the time that a stage took, and its error if it failed."""
        seconds = self.seconds + outcome.seconds
        return replace(self, seconds=seconds, error=outcome.error if isinstance(outcome, Failed) else None)


@dataclass(frozen=True)
class Base:
    """The float32 file that all others are compared with, which is not among the variants unless asked for."""

    path: Path
    violations: tuple[Violation, ...]


def each(
    workers: Workers, drafts: Sequence[Draft], task: Callable[[Draft], Task[T]], jobs: int
) -> list[tuple[Draft, T | None]]:
    """Run a task for every draft that has no error yet: the drafts, with its error or its time, and results."""
    able = [draft for draft in drafts if not draft.error]
    made = workers.run_all([task(draft) for draft in able], jobs)
    outcomes = dict(zip([draft.name for draft in able], made, strict=True))
    after: list[tuple[Draft, T | None]] = []
    for draft in drafts:
        outcome = outcomes.get(draft.name)
        value = outcome.value if isinstance(outcome, Done) else None
        after.append((draft.after(outcome) if outcome else draft, value))
    return after


def file_name(recipe: Recipe, variant: str) -> str:
    return f"{recipe.name}-{variant}.tflite"
