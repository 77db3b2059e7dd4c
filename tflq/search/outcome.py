"""What a search yields, as a frozen value, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tflq.errors import RecipeError
from tflq.flatbuffer import Graph
from tflq.search.hunt import Found, Needed
from tflq.search.options import Goal
from tflq.search.space import Space, kept_by_search
from tflq.search.state import SearchState
from tflq.selection import ops, scopes, select
from tflq.trials import Bar, Tried, lack, meet, worst


@dataclass(frozen=True)
class Outcome:
    name: str
    goal: Goal
    bars: tuple[Bar, ...]
    samples: str
    """Which were decided on and which confirmed, in words."""
    metric: str | None
    float32_bytes: int
    trials: int
    """In all, those included that only rank ops by a few samples."""
    tried: tuple[Tried, ...]
    """On the deciding samples."""
    front: tuple[Tried, ...]
    """Those that nothing beats in both the goal and the bar, by the goal."""
    refuted: tuple[Tried, ...]
    """What the confirming samples showed of candidates that they refuted."""
    found: Found | None
    names: dict[int, str]
    """What keep_float can call an op, by its number; of the ops in what is told apart from the other trials."""
    types: dict[int, str]
    is_spent: bool
    """Whether the limits ended the search."""
    space: Space

    @property
    def exit_code(self) -> int:
        return 0 if self.found else 1

    @property
    def closest(self) -> Tried | None:
        """What lacks least: of what was refuted, since that seemed to lack nothing, or of all that was tried."""
        measured = [(one, one.figures) for one in self.refuted or self.tried if one.figures]
        return min(measured, key=lambda pair: lack(worst(self.bars, pair[1]), pair[1]), default=(None,))[0]

    @property
    def is_certain(self) -> bool:
        figures = self.found.confirming.figures if self.found else None
        return figures is not None and all(bar.is_certain(figures) for bar in self.bars)


def conclude(state: SearchState, found: Found | None) -> Outcome:
    bench, graph = state.bench, state.bench.graph
    scoring = bench.recipe.measured_on.scoring
    outcome = Outcome(
        name=bench.recipe.name,
        goal=state.goal,
        bars=state.bars,
        samples=bench.sets.said,
        metric=scoring.name if scoring else None,
        float32_bytes=graph.size_bytes,
        trials=bench.count,
        tried=tuple(state.tried.values()),
        front=_front(state),
        refuted=tuple(state.refuted),
        found=found,
        names={},
        types={op.index: op.type for op in graph.subgraphs[0].operators},
        is_spent=state.is_spent,
        space=state.space,
    )
    told = [found.deciding if found else outcome.closest, *state.refuted]
    trials = [one.trial for one in told if one]
    kept = sorted({op for trial in trials for op in kept_by_search(trial, state.space.home(trial))})
    return replace(outcome, names={op: spelled(graph, op) for op in kept})


def _front(state: SearchState) -> tuple[Tried, ...]:
    front: list[Tried] = []
    measured = [one for one in state.tried.values() if one.figures]
    for one in sorted(measured, key=lambda tried: (state.cost(tried), _badness(state, tried))):
        if not front or _badness(state, one) < _badness(state, front[-1]):
            front.append(one)
    return tuple(front)


def _badness(state: SearchState, tried: Tried) -> tuple[float, float]:
    """By the first bar, and where that is the same by the SQNR."""
    assert tried.figures
    return state.bars[0].excess(tried.figures), -state.quality(tried)


def spelled(graph: Graph, index: int) -> str:
    """The shortest name that keep_float takes for this op alone; its number where it shares all."""
    op = ops(graph)[index]
    names = sorted((*op.names, *scopes(op)), key=lambda name: (len(name), name))
    return next((name for name in names if _names_alone(graph, name, index)), f"#{index}")


def _names_alone(graph: Graph, name: str, index: int) -> bool:
    try:
        return select(graph, [name]) == {index}
    except RecipeError:
        return False


def sentence(outcome: Outcome) -> str:
    """What was found and why, or that nothing was and what came closest."""
    asked = " and ".join(map(str, outcome.bars))
    if outcome.found is None:
        return f"nothing that was tried meets {asked}{_closest(outcome)}{_spent(outcome)}"
    figures = outcome.found.confirming.figures
    assert figures
    count = figures.file.size_bytes
    size = f"{count:,} bytes, {count / outcome.float32_bytes:.2f} of the float32 file"
    measured = ", ".join(bar.in_words(figures) for bar in outcome.bars)
    parts = [
        f"{described(outcome, outcome.found.deciding)} meets {asked}: {size}; on {figures.samples:,} other samples than"
        f" it was chosen by {measured}",
        *(_doubt(outcome.bars, outcome.found) if not outcome.is_certain else []),
        *(_need(outcome, needed) for needed in outcome.found.needed),
    ]
    return "; ".join(parts) + _spent(outcome)


def described(outcome: Outcome, tried: Tried) -> str:
    """What it is, with the ops that it keeps in float."""
    kept = kept_by_search(tried.trial, outcome.space.home(tried.trial))
    some = [f"{outcome.types[op]} {outcome.names[op]!r}" for op in kept]
    more = [f"and {len(some) - 3} more"] if len(some) > 4 else []
    listed = ", ".join([*some[: 3 if more else 4], *more])
    return tried.trial.in_words + (f", with {listed} in float" if some else "")


def _doubt(bars: Sequence[Bar], found: Found) -> list[str]:
    assert found.confirming.figures
    doubtful = [bar for bar in bars if not bar.is_certain(found.confirming.figures)]
    needed = [bar.samples_needed(found.confirming.figures) for bar in doubtful]
    enough = f": {max(n for n in needed if n):,} would" if any(needed) else ""
    return [f"so many samples cannot tell that for certain{enough}"]


def _need(outcome: Outcome, needed: Needed) -> str:
    change, figures = needed.change, needed.tried.figures
    op = change.op
    what = f"{outcome.types[op]} {outcome.names[op]!r} in float" if op is not None else _option(outcome, needed)
    if figures is None:
        return f"without {what} there is no file: {needed.tried.reason}"
    if needed.is_met:
        return f"without {what} it is met too, with {figures.file.size_bytes:,} bytes"
    if figures.fault:
        return f"without {what} {figures.fault}"
    near = ", too near to the bar after what was refuted" if meet(outcome.bars, needed.tried) else ""
    return f"without {what} {worst(outcome.bars, figures).in_words(figures)}{near}"


def _option(outcome: Outcome, needed: Needed) -> str:
    """What the change is, as the recipe would say it."""
    assert outcome.found
    trial, key = outcome.found.deciding.trial, needed.change.key
    if key == "ranges":
        return f"ranges: {getattr(trial.ranges, 'percentile', trial.ranges)}"
    return f"{key}: {str(getattr(trial.variant, key)).lower()}"


def _closest(outcome: Outcome) -> str:
    closest = outcome.closest
    if closest is None or closest.figures is None:
        reasons = [one.reason for one in outcome.tried]
        return f": no file could be made: {reasons[0]}" if reasons else ""
    bar = worst(outcome.bars, closest.figures)
    says = closest.figures.fault or bar.in_words(closest.figures)
    kind = "confirming" if outcome.refuted else "deciding"
    count = len(outcome.refuted)
    refuted = f"; {count} that seemed to {'were' if count > 1 else 'was'} refuted by other samples" if count else ""
    return (
        f"{refuted}; of {outcome.trials} trials the closest is {described(outcome, closest)}:"
        f" {says} on {closest.figures.samples:,} {kind} samples"
    )


def _spent(outcome: Outcome) -> str:
    if not outcome.is_spent:
        return ""
    return f"; the limits ended the search after {outcome.trials} trials, so there may be better"
