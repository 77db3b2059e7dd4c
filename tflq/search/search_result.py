"""The result of a search as a frozen value, and the sentence that sums it up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tflq.metrics.drop import uncertainty
from tflq.op_selectors import shortest_name
from tflq.search.candidate import Candidate
from tflq.search.options import Goal
from tflq.search.space import OP_KEYS, Space, all_named_by_search, named_by_search
from tflq.search.state import SearchState
from tflq.search.strategy import AblationResult, FoundTrial
from tflq.trials import CONFIRMATION, SELECTION, Constraint, TrialResult, meets_all, relative_violation, worst

WHERE = {"keep_float": "in float", "keep_int16": "in 16 bits"}
"""Descriptions of the keys that name ops."""
FEW_ROWS = 20
"""With fewer rows in either set, the answer says first that more are needed, unless the rows settle it."""


_CHEAPER: dict[Goal, str] = {
    "size": "smaller one",
    "latency": "faster one",
    "ram": "one with less memory",
    "target-time": "one that is faster on the target",
}
"""A file that would serve the goal better."""


@dataclass(frozen=True)
class Rows:
    """Numbers of selection and confirmation samples."""

    selection: int
    confirmation: int


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search, and the one that was found."""

    name: str
    goal: Goal
    constraints: tuple[Constraint, ...]
    samples: str
    """A sentence that says which rows are the selection and the confirmation samples."""
    rows: Rows
    metric: str | None
    float32_bytes: int
    trials: int
    """Number of all trials, including those that only rank ops on a few samples."""
    results: tuple[TrialResult, ...]
    """All results on the selection samples."""
    front: tuple[TrialResult, ...]
    """The Pareto front of the goal and the first constraint, sorted by the goal."""
    refuted: tuple[Candidate, ...]
    """The candidates that failed on the confirmation samples."""
    bound: Candidate | None
    """The confirmed trial that bounded the search: only a cheaper file was a better answer."""
    confirmations: int
    """Number of candidates that were measured on the confirmation samples."""
    found: FoundTrial | None
    names: dict[int, str]
    """The names that keep_float takes for ops, by number. Only the ops that the found or refuted trials name."""
    types: dict[int, str]
    """The type of each op, by its number."""
    is_spent: bool
    """Whether the limits ended the search."""
    space: Space
    targets: tuple[str, ...] = ()
    """The targets on which every file must run whole."""

    @property
    def told(self) -> tuple[Constraint, ...]:
        """The constraints to report: that on dead channels only if a file has one."""
        has_dead = any(result.figures and result.figures.dead_channels for result in self.results)
        return tuple(each for each in self.constraints if each.kind != "max_dead_channels" or has_dead)

    @property
    def exit_code(self) -> int:
        return 0 if self.found else 1

    @property
    def closest(self) -> TrialResult | None:
        """The result with the smallest violation: among the refuted candidates if there are any, else among all."""
        refuted = [candidate.confirmation for candidate in self.refuted if candidate.confirmation.figures]
        measured = [(result, result.figures) for result in refuted or self.results if result.figures]
        return min(
            measured, key=lambda pair: relative_violation(worst(self.constraints, pair[1]), pair[1]), default=(None,)
        )[0]

    @property
    def needs_rows(self) -> bool:
        """Whether there are few rows, and they do not settle the answer: a candidate was refuted, or it is near."""
        if min(self.rows.selection, self.rows.confirmation) >= FEW_ROWS:
            return False
        if self.refuted or self.found is not None:
            return bool(self.refuted) or not self.is_certain
        closest = self.closest.figures if self.closest else None
        return closest is not None and not worst(self.constraints, closest).is_settled(closest)

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
        rows=Rows(*(runner.evaluations[name].stored.count for name in (SELECTION, CONFIRMATION))),
        metric=scoring.name if scoring else None,
        float32_bytes=graph.size_bytes,
        trials=runner.count,
        results=tuple(state.results.values()),
        front=_front(state),
        refuted=tuple(state.refuted),
        bound=state.bound,
        confirmations=len(state.confirmed) + len(state.refuted),
        found=found,
        names={},
        types={op.index: op.type for op in graph.subgraphs[0].operators},
        is_spent=state.is_spent,
        space=state.space,
        targets=runner.recipe.gates.runs_whole_on,
    )
    named = [found.selection if found else outcome.closest, *(candidate.selection for candidate in state.refuted)]
    trials = [result.trial for result in named if result]
    named_ops = sorted({op for trial in trials for op in all_named_by_search(trial, state.space.recipe_trial(trial))})
    return replace(outcome, names={op: shortest_name(graph, op) for op in named_ops})


def _front(state: SearchState) -> tuple[TrialResult, ...]:
    front: list[TrialResult] = []
    measured = [result for result in state.results.values() if result.figures]
    known = [result for result in measured if math.isfinite(state.cost(result))]  # the others were not compiled
    for result in sorted(known or measured, key=lambda each: (state.cost(each), _loss(state, each))):
        if not front or _loss(state, result) < _loss(state, front[-1]):
            front.append(result)
    return tuple(front)


def _loss(state: SearchState, result: TrialResult) -> tuple[float, float]:
    """Return a sort key: the violation of the first constraint, then the SQNR."""
    assert result.figures
    return state.constraints[0].violation(result.figures), -state.quality(result)


def sentence(outcome: SearchResult) -> str:
    """Return the summary: whether more rows are needed, and the found file or the trial that came closest."""
    answer = _no_answer(outcome) if outcome.found is None else _answer(outcome, outcome.found)
    return _more_rows(outcome) + answer + _spent(outcome)


def _more_rows(outcome: SearchResult) -> str:
    if not outcome.needs_rows:
        return ""
    rows = outcome.rows
    return (
        f"more rows are needed first: {rows.selection:,} to select on and {rows.confirmation:,} to confirm on are too"
        " few to settle this, so give evaluation a larger dataset. "
    )


def _answer(outcome: SearchResult, found: FoundTrial) -> str:
    figures = found.confirmation.figures
    assert figures
    gates, count = " and ".join(map(str, outcome.told)), figures.file.size_bytes
    size = f"{count:,} bytes, {count / outcome.float32_bytes:.2f} of the float32 file"
    size += "" if figures.file.ram_bytes is None else f", {figures.file.ram_bytes:,} bytes of planned memory"
    size += "" if figures.file.estimated_ms is None else f", an estimated {figures.file.estimated_ms:.3g} ms a call"
    size += f"; it runs whole on {', '.join(outcome.targets)}" if outcome.targets else ""
    measured = ", ".join(constraint.in_words(figures) for constraint in outcome.told)
    is_last = bool(outcome.refuted) or found.selection.trial.variant in outcome.space.free
    cheaper = _CHEAPER[outcome.goal]
    parts = [
        f"{description(outcome, found.selection)} meets {gates}: {size}; on"
        f" {figures.samples:,} confirmation samples, {measured}",
        *(_uncertainty(outcome.constraints, found) if not outcome.is_certain else []),
        *([f"of {_counted(outcome)}, no {cheaper} was confirmed"] if is_last else []),
        *_refuted(outcome),
        *(_ablation(outcome, ablation) for ablation in found.ablations),
    ]
    return "; ".join(parts)


def _refuted(outcome: SearchResult) -> list[str]:
    """Say how many candidates were refuted, and the values of the first one on both sets of samples."""
    if not outcome.refuted:
        return []
    first, count = outcome.refuted[0], len(outcome.refuted)
    counted = f"{count} candidate{'s' * (count > 1)} failed on the confirmation samples"
    before, after = first.selection.figures, first.confirmation.figures
    if before is None or after is None or after.fault:
        reason = after.fault if after else first.confirmation.reason
        return [f"{counted}, such as {description(outcome, first.selection)}: {reason}"]
    constraint = worst(outcome.constraints, after)
    return [
        f"{counted}, such as {description(outcome, first.selection)}: {constraint.in_words(before)} on"
        f" {before.samples:,} selection samples, and {constraint.in_words(after)} on {after.samples:,} others"
    ]


def description(outcome: SearchResult, result: TrialResult) -> str:
    """Return the trial in words, with the ops that it keeps in float or puts into 16 bits."""
    parts = [result.trial.in_words]
    for key in OP_KEYS:
        ops = named_by_search(result.trial, outcome.space.recipe_trial(result.trial), key)
        names = [f"{outcome.types[op]} {outcome.names[op]!r}" for op in ops]
        more = [f"and {len(names) - 3} more"] if len(names) > 4 else []
        listed = ", ".join([*names[: 3 if more else 4], *more])
        parts += [f"with {listed} {WHERE[key]}"] if names else []
    return ", ".join(parts)


def _uncertainty(constraints: Sequence[Constraint], found: FoundTrial) -> list[str]:
    assert found.confirmation.figures
    uncertain = [constraint for constraint in constraints if not constraint.is_certain(found.confirmation.figures)]
    needed = [constraint.samples_needed(found.confirmation.figures) for constraint in uncertain]
    return [uncertainty(max((number for number in needed if number), default=None))]


def _ablation(outcome: SearchResult, ablation: AblationResult) -> str:
    """Say what happens without the change."""
    op, figures = ablation.change.op, ablation.result.figures
    change = _option(outcome, ablation) if op is None else _named(outcome, op, ablation)
    if figures is None:
        return f"without {change}, no file can be made: {ablation.result.reason}"
    if ablation.is_met:
        return f"without {change}, the gates are met too, with {figures.file.size_bytes:,} bytes"
    if figures.fault:
        return f"without {change}, {figures.fault}"
    near = (
        ", too near to the limit after candidates were refuted"
        if meets_all(outcome.constraints, ablation.result)
        else ""
    )
    return f"without {change}, {worst(outcome.constraints, figures).in_words(figures)}{near}"


def _named(outcome: SearchResult, op: int, ablation: AblationResult) -> str:
    return f"{outcome.types[op]} {outcome.names[op]!r} {WHERE[ablation.change.key]}"


def _option(outcome: SearchResult, ablation: AblationResult) -> str:
    """Return the change in the words of a recipe."""
    assert outcome.found
    trial, key = outcome.found.selection.trial, ablation.change.key
    if key == "ranges":
        return f"ranges: {getattr(trial.ranges, 'percentile', trial.ranges)}"
    return f"{key}: {str(getattr(trial.variant, key)).lower()}"


def _no_answer(outcome: SearchResult) -> str:
    start = f"no trial meets {' and '.join(map(str, outcome.told))}"
    closest = outcome.closest
    if closest is None or closest.figures is None:
        reasons = [result.reason for result in outcome.results]
        return f"{start}: no file could be made: {reasons[0]}" if reasons else start
    constraint = worst(outcome.constraints, closest.figures)
    violation = closest.figures.fault or constraint.in_words(closest.figures)
    is_refuted = any(closest is candidate.confirmation for candidate in outcome.refuted)
    parts = [
        start,
        *_refuted(outcome),
        f"of {_counted(outcome)} the closest is {description(outcome, closest)}: {violation} on"
        f" {closest.figures.samples:,} {'confirmation' if is_refuted else 'selection'} samples",
    ]
    return "; ".join(parts)


def _spent(outcome: SearchResult) -> str:
    if not outcome.is_spent:
        return ""
    return f"; the limits ended the search after {_counted(outcome)}, so a better file may exist"


def _counted(outcome: SearchResult) -> str:
    return f"{outcome.trials} trial{'s' * (outcome.trials != 1)}"
