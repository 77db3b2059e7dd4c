"""The result of a search as a frozen value, and the sentence that sums it up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tflq.errors import RecipeError
from tflq.flatbuffer import Graph
from tflq.metrics import uncertainty
from tflq.op_selectors import ops, scopes, select
from tflq.search.options import Goal
from tflq.search.space import Space, kept_by_search
from tflq.search.state import SearchState
from tflq.search.strategy import AblationResult, FoundTrial
from tflq.trials import Constraint, TrialResult, meets_all, relative_violation, worst


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search, and the one that was found."""

    name: str
    goal: Goal
    constraints: tuple[Constraint, ...]
    samples: str
    """A sentence that says which rows are the selection and the confirmation samples."""
    metric: str | None
    float32_bytes: int
    trials: int
    """Number of all trials, including those that only rank ops on a few samples."""
    results: tuple[TrialResult, ...]
    """All results on the selection samples."""
    front: tuple[TrialResult, ...]
    """The Pareto front of the goal and the first constraint, sorted by the goal."""
    rejected: tuple[TrialResult, ...]
    """The results on the confirmation samples of the candidates that failed there."""
    found: FoundTrial | None
    names: dict[int, str]
    """The names that keep_float takes for ops, by number. Only the ops that the found or rejected trials keep."""
    types: dict[int, str]
    """The type of each op, by its number."""
    is_spent: bool
    """Whether the limits ended the search."""
    space: Space

    @property
    def exit_code(self) -> int:
        return 0 if self.found else 1

    @property
    def closest(self) -> TrialResult | None:
        """The result with the smallest violation: among the rejected candidates if there are any, else among all."""
        measured = [(result, result.figures) for result in self.rejected or self.results if result.figures]
        return min(
            measured, key=lambda pair: relative_violation(worst(self.constraints, pair[1]), pair[1]), default=(None,)
        )[0]

    @property
    def is_certain(self) -> bool:
        """Whether the 95 % intervals on the confirmation samples are on the passing side of all limits."""
        figures = self.found.confirmation.figures if self.found else None
        return figures is not None and all(constraint.is_certain(figures) for constraint in self.constraints)


def conclude(state: SearchState, found: FoundTrial | None) -> SearchResult:
    """Return the result of the search from its final state."""
    runner, graph = state.runner, state.runner.graph
    scoring = runner.recipe.measured_on.scoring
    outcome = SearchResult(
        name=runner.recipe.name,
        goal=state.goal,
        constraints=state.constraints,
        samples=runner.splits.description,
        metric=scoring.name if scoring else None,
        float32_bytes=graph.size_bytes,
        trials=runner.count,
        results=tuple(state.results.values()),
        front=_front(state),
        rejected=tuple(state.rejected),
        found=found,
        names={},
        types={op.index: op.type for op in graph.subgraphs[0].operators},
        is_spent=state.is_spent,
        space=state.space,
    )
    named = [found.selection if found else outcome.closest, *state.rejected]
    trials = [result.trial for result in named if result]
    kept_ops = sorted({op for trial in trials for op in kept_by_search(trial, state.space.recipe_trial(trial))})
    return replace(outcome, names={op: shortest_name(graph, op) for op in kept_ops})


def _front(state: SearchState) -> tuple[TrialResult, ...]:
    front: list[TrialResult] = []
    measured = [result for result in state.results.values() if result.figures]
    for result in sorted(
        measured, key=lambda measured_result: (state.cost(measured_result), _loss(state, measured_result))
    ):
        if not front or _loss(state, result) < _loss(state, front[-1]):
            front.append(result)
    return tuple(front)


def _loss(state: SearchState, result: TrialResult) -> tuple[float, float]:
    """Return a sort key: the violation of the first constraint, then the SQNR."""
    assert result.figures
    return state.constraints[0].violation(result.figures), -state.quality(result)


def shortest_name(graph: Graph, index: int) -> str:
    """Return the shortest name that keep_float takes for this op alone, or its number if no name is unique."""
    op = ops(graph)[index]
    names = sorted((*op.names, *scopes(op)), key=lambda name: (len(name), name))
    return next((name for name in names if _is_unique(graph, name, index)), f"#{index}")


def _is_unique(graph: Graph, name: str, index: int) -> bool:
    try:
        return select(graph, [name]) == {index}
    except RecipeError:
        return False


def sentence(outcome: SearchResult) -> str:
    """Return the summary: the found file and its measurements, or the trial that came closest."""
    gates = " and ".join(map(str, outcome.constraints))
    if outcome.found is None:
        return f"no trial meets {gates}{_closest(outcome)}{_spent(outcome)}"
    figures = outcome.found.confirmation.figures
    assert figures
    count = figures.file.size_bytes
    size = f"{count:,} bytes, {count / outcome.float32_bytes:.2f} of the float32 file"
    measured = ", ".join(constraint.in_words(figures) for constraint in outcome.constraints)
    parts = [
        f"{description(outcome, outcome.found.selection)} meets {gates}: {size}; on"
        f" {figures.samples:,} confirmation samples, {measured}",
        *(_uncertainty(outcome.constraints, outcome.found) if not outcome.is_certain else []),
        *(_ablation(outcome, ablation) for ablation in outcome.found.ablations),
    ]
    return "; ".join(parts) + _spent(outcome)


def description(outcome: SearchResult, result: TrialResult) -> str:
    """Return the trial in words, with the ops that it keeps in float."""
    kept_ops = kept_by_search(result.trial, outcome.space.recipe_trial(result.trial))
    names = [f"{outcome.types[op]} {outcome.names[op]!r}" for op in kept_ops]
    more = [f"and {len(names) - 3} more"] if len(names) > 4 else []
    listed = ", ".join([*names[: 3 if more else 4], *more])
    return result.trial.in_words + (f", with {listed} in float" if names else "")


def _uncertainty(constraints: Sequence[Constraint], found: FoundTrial) -> list[str]:
    assert found.confirmation.figures
    uncertain = [constraint for constraint in constraints if not constraint.is_certain(found.confirmation.figures)]
    needed = [constraint.samples_needed(found.confirmation.figures) for constraint in uncertain]
    return [uncertainty(max((number for number in needed if number), default=None))]


def _ablation(outcome: SearchResult, ablation: AblationResult) -> str:
    """Say what happens without the change."""
    op, figures = ablation.change.op, ablation.result.figures
    change = f"{outcome.types[op]} {outcome.names[op]!r} in float" if op is not None else _option(outcome, ablation)
    if figures is None:
        return f"without {change}, no file can be made: {ablation.result.reason}"
    if ablation.is_met:
        return f"without {change}, the gates are met too, with {figures.file.size_bytes:,} bytes"
    if figures.fault:
        return f"without {change}, {figures.fault}"
    near = ", too near to the limit after the rejections" if meets_all(outcome.constraints, ablation.result) else ""
    return f"without {change}, {worst(outcome.constraints, figures).in_words(figures)}{near}"


def _option(outcome: SearchResult, ablation: AblationResult) -> str:
    """Return the change in the words of a recipe."""
    assert outcome.found
    trial, key = outcome.found.selection.trial, ablation.change.key
    if key == "ranges":
        return f"ranges: {getattr(trial.ranges, 'percentile', trial.ranges)}"
    return f"{key}: {str(getattr(trial.variant, key)).lower()}"


def _closest(outcome: SearchResult) -> str:
    closest = outcome.closest
    if closest is None or closest.figures is None:
        reasons = [result.reason for result in outcome.results]
        return f": no file could be made: {reasons[0]}" if reasons else ""
    constraint = worst(outcome.constraints, closest.figures)
    violation = closest.figures.fault or constraint.in_words(closest.figures)
    kind = "confirmation" if outcome.rejected else "selection"
    count = len(outcome.rejected)
    candidates = f"{count} candidate{'s' * (count > 1)}"
    rejected = f"; {candidates} failed on the confirmation samples" if count else ""
    return (
        f"{rejected}; of {outcome.trials} trials the closest is {description(outcome, closest)}:"
        f" {violation} on {closest.figures.samples:,} {kind} samples"
    )


def _spent(outcome: SearchResult) -> str:
    if not outcome.is_spent:
        return ""
    return f"; the limits ended the search after {outcome.trials} trials, so a better file may exist"
