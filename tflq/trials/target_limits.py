"""The gates of a recipe on memory, time and targets. A file that does not meet them is no answer of a search.

A compiler takes many seconds for a file. It is called once for each file, and where it can, after the measurement: only
for files that pass the gates on accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from tflq import cache
from tflq.errors import EvaluationError
from tflq.recipe import Recipe
from tflq.targets.schema import Target
from tflq.targets.shipped import load
from tflq.targets.target_verdict import TargetVerdict, kilobytes
from tflq.targets.tools import vela_command, vela_version
from tflq.targets.verdict import file_verdicts, verdicts


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

    @property
    def before_measuring(self) -> TargetLimits:
        """The limits on targets that need no compiler, whose verdicts cost almost no time."""
        cheap = tuple(target for target in self.targets if not self.compiles(target))
        ram = self.max_ram_kb if any(target.has_memory for target in cheap) else None
        return replace(self, targets=cheap, max_ram_kb=ram, max_estimated_ms=None)

    def compiles(self, target: Target) -> bool:
        """Return whether the compiler decides about files on this target."""
        return target.vela_options is not None and vela_command() is not None


@dataclass(frozen=True)
class TargetFigures:
    """The figures of a file on the targets that it is checked on: the largest of all."""

    ram_bytes: int | None = None
    """The memory of activations and variables; None if it is not known."""
    estimated_ms: float | None = None
    """The estimated time of a whole call; None if it is not known."""
    refusal: str = ""
    """Why the file does not meet the limits; empty if it does."""


_FIGURES = TypeAdapter(TargetFigures)


def target_limits(recipe: Recipe) -> TargetLimits:
    """Return the limits of the recipe. Without any, files are checked on the targets whose memory is known."""
    gates = recipe.gates
    whole_on = frozenset(load(name).name for name in gates.runs_whole_on)
    needed = tuple(each for each in recipe.checked_targets if each.name in whole_on or each.has_memory)
    compiler = vela_version() if any(each.vela_options for each in needed) else ""
    return TargetLimits(needed, whole_on, gates.max_ram_kb, gates.max_estimated_ms, compiler)


def may_compile_later(path: Path, limits: TargetLimits) -> bool:
    """Return whether a compiler is needed, and the tables of its targets do not already say that the file falls back.

    A search must know early which files fall back, so as not to go on from them. The compiler has the last word on it.
    """
    compiled = [target for target in limits.targets if limits.compiles(target)]
    judged = [target for target in compiled if target.name in limits.whole_on]
    return bool(compiled) and all(each.outcome == "runs whole" for each in verdicts(path.read_bytes(), judged))


def target_figures(path: Path, limits: TargetLimits, folder: Path) -> TargetFigures:
    """Return the figures of the file. Raise EvaluationError with the reason if it does not meet the limits.

    `folder` keeps the figures of each file that was compiled, by its hash.
    """
    kept = folder / f"{cache.sha256(path)}.json"
    is_compiled = any(map(limits.compiles, limits.targets))
    if is_compiled and kept.exists():
        figures = _FIGURES.validate_json(kept.read_text(encoding="utf-8"))
    else:
        figures = _figures(file_verdicts(path, limits.targets), limits)
        if is_compiled:
            folder.mkdir(exist_ok=True)
            cache.write(kept, _FIGURES.dump_json(figures).decode())
    if figures.refusal:
        raise EvaluationError(figures.refusal)
    return figures


def _figures(verdicts: Sequence[TargetVerdict], limits: TargetLimits) -> TargetFigures:
    ram = max((verdict.ram_bytes for verdict in verdicts if verdict.ram_bytes is not None), default=None)
    figures = TargetFigures(ram, _whole_time(verdicts))
    return replace(figures, refusal=_refusal(verdicts, limits, figures))


def _refusal(verdicts: Sequence[TargetVerdict], limits: TargetLimits, figures: TargetFigures) -> str:
    for verdict in verdicts:
        if verdict.target in limits.whole_on and verdict.outcome != "runs whole":
            return f"{verdict.target}: {verdict.in_words}"
    ram, time = figures.ram_bytes, figures.estimated_ms
    if limits.max_ram_kb is not None and (ram is None or ram > 1000 * limits.max_ram_kb):
        needs = "is not known" if ram is None else f"is {kilobytes(ram)}"
        return f"the planned memory {needs}, but the limit is {limits.max_ram_kb:g} kB"
    if limits.max_estimated_ms is not None and (time is None or time > limits.max_estimated_ms):
        needs = "is not known" if time is None else f"is {time:.3g} ms"
        return f"the estimated time {needs}, but the limit is {limits.max_estimated_ms:g} ms"
    return ""


def _whole_time(verdicts: Sequence[TargetVerdict]) -> float | None:
    """Return the estimate on the slowest target; None if that of one is not the time of the whole call."""
    timed = [verdict for verdict in verdicts if verdict.compiled]
    if any(verdict.untimed for verdict in timed):
        return None
    return max((verdict.estimated_ms for verdict in timed if verdict.estimated_ms is not None), default=None)
