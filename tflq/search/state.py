"""The state of a search: its trials, how they compare, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tflq.modes import Mode
from tflq.search.options import Goal
from tflq.search.space import Space, kept_by_search, with_ops_in_float
from tflq.trials import RANKING, Constraint, Trial, TrialResult, TrialRunner, meets_all, quality
from tflq.worker import Progress

STAGE = "search"
MAX_CANDIDATES_OF_ONE_MODE = 3
"""The largest number of rejected candidates of one mode, while there are other modes."""


@dataclass
class SearchState:
    """The trials of a search so far, the rejected candidates, and the best trial."""

    runner: TrialRunner
    space: Space
    constraints: tuple[Constraint, ...]
    goal: Goal
    results: dict[Trial, TrialResult] = field(default_factory=dict)
    """The results on the selection samples, in the order of the requests."""
    rejected: list[TrialResult] = field(default_factory=list)
    """The results on the confirmation samples of the candidates that failed there."""
    is_spent: bool = False
    """Whether the limits ended the search."""
    _margins: dict[Constraint, float] = field(default_factory=dict)

    def rank(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Run trials on a few samples, to rank them only. Raise BudgetExhausted if the limits do not allow all."""
        try:
            return self.runner.run(trials, RANKING)
        finally:
            self._report_progress()

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Run trials and add their results. Raise BudgetExhausted if the limits do not allow all."""
        try:
            return self.runner.run(trials)
        finally:
            for trial in trials:
                if (result := self.runner.selection_result(trial)) is not None:
                    self.results.setdefault(trial, result)
            self._report_progress()

    def _report_progress(self) -> None:
        best, most = self.best(), self.runner.limits.trials
        note = f"best so far: {short_description(best)}" if best else ""
        self.runner.context.workers.listen(Progress(STAGE, self.runner.count, most, note))

    def meets(self, result: TrialResult) -> bool:
        """Return whether the trial meets all constraints, each stricter by the margin from rejected candidates."""
        return meets_all(
            [
                replace(constraint, value=constraint.stricter(self._margins.get(constraint, 0)))
                for constraint in self.constraints
            ],
            result,
        )

    def cost(self, result: TrialResult) -> float:
        """Return the value to minimize: bytes, or multiply-adds of int8."""
        assert result.figures is not None
        return result.figures.file.size_bytes if self.goal == "size" else result.figures.file.work

    def quality(self, result: TrialResult) -> float:
        """Return the SQNR in dB by which trials are compared; -inf for a trial without a file."""
        return quality(result.figures, self.runner.recipe.measured_on) if result.figures else -float("inf")

    def best(self) -> TrialResult | None:
        """Return the cheapest trial that meets the constraints; of equals, the one with fewest changes, then the best.

        A trial is left out if another one is the same with fewer ops in float. It may be a few bytes smaller.
        """
        rejected = {result.trial for result in self.rejected}
        left = [result for result in self.results.values() if not self.is_given_up(result.trial.variant)]
        met = [result for result in left if result.trial not in rejected and self.meets(result)]
        minimal = [result for result in met if not any(self._keeps_less(other, result) for other in met)]

        def order(result: TrialResult) -> tuple[float, int, float]:
            return self.cost(result), len(self.space.changes(result.trial)), -self.quality(result)

        return min(minimal, key=order, default=None)

    def is_given_up(self, variant: Mode) -> bool:
        """Return whether so many candidates of its mode were rejected that only other modes are tried."""
        variants = (*self.space.families, *self.space.last)
        count = sum(result.trial.variant.mode == variant.mode for result in self.rejected)
        return count >= MAX_CANDIDATES_OF_ONE_MODE and any(other.mode != variant.mode for other in variants)

    def _keeps_less(self, result: TrialResult, other: TrialResult) -> bool:
        """Return whether the first trial is the second one with fewer ops in float."""
        recipe_trial = self.space.recipe_trial(other.trial)
        kept_ops = kept_by_search(other.trial, recipe_trial)
        fewer = [op for op in kept_ops if f"#{op}" in result.trial.variant.keep_float]
        return len(fewer) < len(kept_ops) and result.trial == with_ops_in_float(other.trial, recipe_trial, fewer)

    def reject(self, confirmation: TrialResult) -> None:
        """Reject a candidate. Later candidates must be better than the limit by its violation."""
        self.rejected.append(confirmation)
        if confirmation.figures is not None:
            for constraint in self.constraints:
                self._margins[constraint] = self._margins.get(constraint, 0) + max(
                    constraint.violation(confirmation.figures), 0.0
                )


def short_description(result: TrialResult) -> str:
    """Return the trial in words, with the number of ops in float and the size."""
    count, figures = len(result.trial.variant.keep_float), result.figures
    ops = f" with {count} op{'s' * (count > 1)} in float" if count else ""
    return f"{result.trial.in_words}{ops}" + (f", {figures.file.size_bytes:,} bytes" if figures else "")
