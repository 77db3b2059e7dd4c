"""Tasks that fit something to a model, and the place of their result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflq.errors import ConversionError
from tflq.refine import WeightGranularity
from tflq.stages.refinement_work import Calls
from tflq.worker import Task

LayerFitKey = tuple[str, Path, Calls, WeightGranularity]
"""The key of a correction, or the name of a fit that follows it; and what it is fitted to."""


@dataclass(frozen=True)
class Fit:
    """Tasks, and the place where the result of all of them is stored."""

    tasks: Sequence[Task[Any]]
    results: dict[Any, Any]
    key: Any
    combine: Callable[[Sequence[Any]], Any]
    """The function from the values of the tasks to their result."""


@dataclass(frozen=True)
class PartedFit:
    """A fit whose layers are divided among several tasks."""

    stage: str
    function: Callable[..., Any]
    """Fits one part. Its last argument is the number of the part and the path to write to."""
    parts: int

    def tasks(self, given: tuple[Any, ...], new_path: Callable[[], Path]) -> list[Task[Any]]:
        """Return the tasks. `given` holds the first arguments of the function.

        The last part comes first: the last layers of most networks are the largest, and take longest.
        """
        return [
            Task(f"{self.stage}, part {number + 1}", self.function, (*given, (number, new_path())), ConversionError)
            for number in reversed(range(self.parts))
        ]
