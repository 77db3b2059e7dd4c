"""The gates of a recipe on memory, flash and targets. A file that does not meet them is not measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflq.errors import EvaluationError
from tflq.recipe import Recipe
from tflq.targets import Target, file_verdicts, kilobytes, load


@dataclass(frozen=True)
class TargetLimits:
    """The targets that files are checked on, and their limits."""

    targets: tuple[Target, ...] = ()
    whole_on: frozenset[str] = frozenset()
    """The targets on which every op must run."""
    max_ram_kb: float | None = None


def target_limits(recipe: Recipe) -> TargetLimits:
    """Return the limits of the recipe. Without any, files are planned on the targets that have a plan of memory."""
    gates = recipe.gates
    whole_on = frozenset(load(name).name for name in gates.runs_whole_on)
    needed = (each for each in recipe.checked_targets if each.name in whole_on or each.memory)
    return TargetLimits(tuple(needed), whole_on, gates.max_ram_kb)


def planned_ram(path: Path, limits: TargetLimits) -> int | None:
    """Return the planned memory of the file in bytes; None if no target has a plan of memory.

    Raise EvaluationError with the reason if the file does not meet the limits.
    """
    verdicts = file_verdicts(path, limits.targets)
    for verdict in verdicts:
        if verdict.target in limits.whole_on and verdict.outcome != "runs whole":
            raise EvaluationError(f"{verdict.target}: {verdict.in_words}")
    ram = max((verdict.ram_bytes for verdict in verdicts if verdict.ram_bytes is not None), default=None)
    if limits.max_ram_kb is not None and (ram is None or ram > 1000 * limits.max_ram_kb):
        needs = "is not known" if ram is None else f"is {kilobytes(ram)}"
        raise EvaluationError(f"the planned memory {needs}, but the limit is {limits.max_ram_kb:g} kB")
    return ram
