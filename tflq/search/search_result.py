"""What a search yields, as a frozen value, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tflq.errors import RecipeError
from tflq.flatbuffer import Graph
from tflq.op_selectors import ops, scopes, select
from tflq.search.options import Goal
from tflq.search.space import Space, kept_by_search
from tflq.search.state import SearchState
from tflq.search.strategy import AblationResult, FoundTrial
from tflq.trials import Constraint, TrialResult, meets_all, relative_violation, worst


@dataclass(frozen=True)
class SearchResult:
    name: str
    goal: Goal
    constraints: tuple[Constraint, ...]
    samples: str
    """Which were decided on and which confirmed, in words."""
    metric: str | None
    float32_bytes: int
    trials: int
    """In all, those included that only rank ops by a few samples."""
    tried: tuple[TrialResult, ...]
    """On the deciding samples."""
    front: tuple[TrialResult, ...]
    """Those that nothing beats in both the goal and the bar, by the goal."""
    refuted: tuple[TrialResult, ...]
    """What the confirming samples showed of candidates that they refuted."""
    found: FoundTrial | None
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
    def closest(self) -> TrialResult | None:
        """What lacks least: of what was refuted, since that seemed to lack nothing, or of all that was tried."""
        measured = [(one, one.figures) for one in self.refuted or self.tried if one.figures]
        return min(
            measured, key=lambda pair: relative_violation(worst(self.constraints, pair[1]), pair[1]), default=(None,)
        )[0]

    @property
    def is_certain(self) -> bool:
        figures = self.found.confirmation.figures if self.found else None
        return figures is not None and all(constraint.is_certain(figures) for constraint in self.constraints)


def conclude(state: SearchState, found: FoundTrial | None) -> SearchResult:
    runner, graph = state.runner, state.runner.graph
    scoring = runner.recipe.measured_on.scoring
    outcome = SearchResult(
        name=runner.recipe.name,
        goal=state.goal,
        constraints=state.constraints,
        samples=runner.splits.said,
        metric=scoring.name if scoring else None,
        float32_bytes=graph.size_bytes,
        trials=runner.count,
        tried=tuple(state.tried.values()),
        front=_front(state),
        refuted=tuple(state.refuted),
        found=found,
        names={},
        types={op.index: op.type for op in graph.subgraphs[0].operators},
        is_spent=state.is_spent,
        space=state.space,
    )
    told = [found.selection if found else outcome.closest, *state.refuted]
    trials = [one.trial for one in told if one]
    kept = sorted({op for trial in trials for op in kept_by_search(trial, state.space.recipe_trial(trial))})
    return replace(outcome, names={op: spelled(graph, op) for op in kept})


def _front(state: SearchState) -> tuple[TrialResult, ...]:
    front: list[TrialResult] = []
    measured = [one for one in state.tried.values() if one.figures]
    for one in sorted(measured, key=lambda tried: (state.cost(tried), _loss(state, tried))):
        if not front or _loss(state, one) < _loss(state, front[-1]):
            front.append(one)
    return tuple(front)


def _loss(state: SearchState, tried: TrialResult) -> tuple[float, float]:
    """By the first bar, and where that is the same by the SQNR."""
    assert tried.figures
    return state.constraints[0].violation(tried.figures), -state.quality(tried)


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


def sentence(outcome: SearchResult) -> str:
    """What was found and why, or that nothing was and what came closest."""
    request = " and ".join(map(str, outcome.constraints))
    if outcome.found is None:
        return f"nothing that was tried meets {request}{_closest(outcome)}{_spent(outcome)}"
    figures = outcome.found.confirmation.figures
    assert figures
    count = figures.file.size_bytes
    size = f"{count:,} bytes, {count / outcome.float32_bytes:.2f} of the float32 file"
    measured = ", ".join(constraint.in_words(figures) for constraint in outcome.constraints)
    parts = [
        f"{described(outcome, outcome.found.selection)} meets {request}: {size}; on"
        f" {figures.samples:,} samples that did not choose it: {measured}",
        *(_doubt(outcome.constraints, outcome.found) if not outcome.is_certain else []),
        *(_need(outcome, needed) for needed in outcome.found.needed),
    ]
    return "; ".join(parts) + _spent(outcome)


def described(outcome: SearchResult, tried: TrialResult) -> str:
    """What it is, with the ops that it keeps in float."""
    kept = kept_by_search(tried.trial, outcome.space.recipe_trial(tried.trial))
    some = [f"{outcome.types[op]} {outcome.names[op]!r}" for op in kept]
    more = [f"and {len(some) - 3} more"] if len(some) > 4 else []
    listed = ", ".join([*some[: 3 if more else 4], *more])
    return tried.trial.in_words + (f", with {listed} in float" if some else "")


def _doubt(constraints: Sequence[Constraint], found: FoundTrial) -> list[str]:
    assert found.confirmation.figures
    doubtful = [constraint for constraint in constraints if not constraint.is_certain(found.confirmation.figures)]
    needed = [constraint.samples_needed(found.confirmation.figures) for constraint in doubtful]
    enough = f": {max(n for n in needed if n):,} would" if any(needed) else ""
    return [f"so many samples cannot tell that for certain{enough}"]


def _need(outcome: SearchResult, needed: AblationResult) -> str:
    change, figures = needed.change, needed.tried.figures
    op = change.op
    what = f"{outcome.types[op]} {outcome.names[op]!r} in float" if op is not None else _option(outcome, needed)
    if figures is None:
        return f"without {what} there is no file: {needed.tried.reason}"
    if needed.is_met:
        return f"without {what} it is met too, with {figures.file.size_bytes:,} bytes"
    if figures.fault:
        return f"without {what} {figures.fault}"
    near = ", too near to the bar after what was refuted" if meets_all(outcome.constraints, needed.tried) else ""
    return f"without {what} {worst(outcome.constraints, figures).in_words(figures)}{near}"


def _option(outcome: SearchResult, needed: AblationResult) -> str:
    """What the change is, as the recipe would say it."""
    assert outcome.found
    trial, key = outcome.found.selection.trial, needed.change.key
    if key == "ranges":
        return f"ranges: {getattr(trial.ranges, 'percentile', trial.ranges)}"
    return f"{key}: {str(getattr(trial.variant, key)).lower()}"


def _closest(outcome: SearchResult) -> str:
    closest = outcome.closest
    if closest is None or closest.figures is None:
        reasons = [one.reason for one in outcome.tried]
        return f": no file could be made: {reasons[0]}" if reasons else ""
    constraint = worst(outcome.constraints, closest.figures)
    says = closest.figures.fault or constraint.in_words(closest.figures)
    kind = "confirming" if outcome.refuted else "deciding"
    count = len(outcome.refuted)
    refuted = f"; {count} that seemed to {'were' if count > 1 else 'was'} refuted by other samples" if count else ""
    return (
        f"{refuted}; of {outcome.trials} trials the closest is {described(outcome, closest)}:"
        f" {says} on {closest.figures.samples:,} {kind} samples"
    )


def _spent(outcome: SearchResult) -> str:
    if not outcome.is_spent:
        return ""
    return f"; the limits ended the search after {outcome.trials} trials, so there may be better"
