"""The gates of a recipe on memory, time and targets. A file that does not meet them is not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tflq.errors import EvaluationError
from tflq.recipe import Recipe
from tflq.targets import Target, TargetVerdict, file_verdicts, kilobytes, load, vela_version


@dataclass(frozen=True)
class TargetLimits:
    """The targets that files are checked on, and their limits."""

    targets: tuple[Target, ...] = ()
    whole_on: frozenset[str] = frozenset()
    """The targets on which every op must run."""
    max_ram_kb: float | None = None
    max_estimated_ms: float | None = None
    compiler: str = ""
    """The version of the compiler, on which its figures depend; empty if no target has one, or it is not installed."""


@dataclass(frozen=True)
class TargetFigures:
    """The figures of a file on the targets that it is checked on: the largest of all."""

    ram_bytes: int | None = None
    """The memory of activations and variables; None if it is not known."""
    estimated_ms: float | None = None
    """The estimated time of a whole call; None if it is not known."""


def target_limits(recipe: Recipe) -> TargetLimits:
    """Return the limits of the recipe. Without any, files are checked on the targets whose memory is known."""
    gates = recipe.gates
    whole_on = frozenset(load(name).name for name in gates.runs_whole_on)
    needed = tuple(each for each in recipe.checked_targets if each.name in whole_on or each.has_memory)
    compiler = vela_version() if any(each.vela_options for each in needed) else ""
    return TargetLimits(needed, whole_on, gates.max_ram_kb, gates.max_estimated_ms, compiler)


def target_figures(path: Path, limits: TargetLimits) -> TargetFigures:
    """Return the figures of the file. Raise EvaluationError with the reason if it does not meet the limits."""
    verdicts = file_verdicts(path, limits.targets)
    for verdict in verdicts:
        if verdict.target in limits.whole_on and verdict.outcome != "runs whole":
            raise EvaluationError(f"{verdict.target}: {verdict.in_words}")
    ram = max((verdict.ram_bytes for verdict in verdicts if verdict.ram_bytes is not None), default=None)
    if limits.max_ram_kb is not None and (ram is None or ram > 1000 * limits.max_ram_kb):
        needs = "is not known" if ram is None else f"is {kilobytes(ram)}"
        raise EvaluationError(f"the planned memory {needs}, but the limit is {limits.max_ram_kb:g} kB")
    time = _whole_time(verdicts)
    if limits.max_estimated_ms is not None and (time is None or time > limits.max_estimated_ms):
        needs = "is not known" if time is None else f"is {time:.3g} ms"
        raise EvaluationError(f"the estimated time {needs}, but the limit is {limits.max_estimated_ms:g} ms")
    return TargetFigures(ram, time)


def _whole_time(verdicts: Sequence[TargetVerdict]) -> float | None:
    """Return the estimate on the slowest target; None if that of one is not the time of the whole call."""
    timed = [verdict for verdict in verdicts if verdict.compiled]
    if any(verdict.untimed for verdict in timed):
        return None
    return max((verdict.estimated_ms for verdict in timed if verdict.estimated_ms is not None), default=None)
