"""The state of a search: the trials that were made, how they compare, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tflq.modes import Mode
from tflq.search.options import Goal
from tflq.search.space import Space, keeping, kept_by_search
from tflq.trials import RANKING, Constraint, Trial, TrialResult, TrialRunner, meets_all, quality
from tflq.worker import Progress

STAGE = "search"
MAX_CANDIDATES_OF_ONE_MODE = 3
"""So many candidates of one mode are held against the confirming samples, while there are other modes."""


@dataclass
class SearchState:
    """A search as it goes on: what was tried, what was refuted, and which trial is the best so far."""

    runner: TrialRunner
    space: Space
    constraints: tuple[Constraint, ...]
    goal: Goal
    tried: dict[Trial, TrialResult] = field(default_factory=dict)
    """On the deciding samples, in the order in which they were asked for."""
    refuted: list[TrialResult] = field(default_factory=list)
    """Met the bars on the deciding samples, and not on the confirming ones: what these showed."""
    is_spent: bool = False
    _margins: dict[Constraint, float] = field(default_factory=dict)

    def rank(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Try them on a few samples, which makes no candidates of them; raises Spent."""
        try:
            return self.runner.run(trials, RANKING)
        finally:
            self._tell()

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Try them; raises Spent."""
        try:
            return self.runner.run(trials)
        finally:
            for trial in trials:
                if (known := self.runner.known(trial)) is not None:
                    self.tried.setdefault(trial, known)
            self._tell()

    def _tell(self) -> None:
        best, most = self.best(), self.runner.limits.trials
        note = f"best so far: {short_description(best)}" if best else ""
        self.runner.context.workers.listen(Progress(STAGE, self.runner.count, most, note))

    def meets(self, tried: TrialResult) -> bool:
        """Whether it meets every bar on the deciding samples, with the margin that refuted candidates taught."""
        return meets_all(
            [
                replace(constraint, value=constraint.better(self._margins.get(constraint, 0)))
                for constraint in self.constraints
            ],
            tried,
        )

    def cost(self, tried: TrialResult) -> float:
        assert tried.figures is not None
        return tried.figures.file.size_bytes if self.goal == "size" else tried.figures.file.work

    def quality(self, tried: TrialResult) -> float:
        """The SQNR in dB that candidates are compared by; -inf for a trial without a file."""
        return quality(tried.figures, self.runner.recipe.measured_on) if tried.figures else -float("inf")

    def best(self) -> TrialResult | None:
        """Of those that meet the bars, the one to take: of equals the one with the fewest changes, then the best.

        What keeps an op in float that it could do without is not taken, though it may be a few bytes smaller.
        """
        refuted = {one.trial for one in self.refuted}
        left = [one for one in self.tried.values() if not self.is_given_up(one.trial.variant)]
        met = [tried for tried in left if tried.trial not in refuted and self.meets(tried)]
        least = [one for one in met if not any(self._keeps_less(other, one) for other in met)]
        ranked = sorted(least, key=lambda one: (self.cost(one), len(self.space.changes(one.trial)), -self.quality(one)))
        return ranked[0] if ranked else None

    def is_given_up(self, variant: Mode) -> bool:
        """Whether so much of its mode was refuted that the looks which are left are for others."""
        others = (*self.space.families, *self.space.last)
        count = sum(one.trial.variant.mode == variant.mode for one in self.refuted)
        return count >= MAX_CANDIDATES_OF_ONE_MODE and any(one.mode != variant.mode for one in others)

    def _keeps_less(self, one: TrialResult, other: TrialResult) -> bool:
        """Whether it is the same but for ops that only the other one keeps in float."""
        recipe_trial = self.space.recipe_trial(other.trial)
        kept = kept_by_search(other.trial, recipe_trial)
        less = [op for op in kept if f"#{op}" in one.trial.variant.keep_float]
        return len(less) < len(kept) and one.trial == keeping(other.trial, recipe_trial, less)

    def learn(self, confirmation: TrialResult) -> None:
        """From now on candidates must be better by as much as this one fails the bar."""
        self.refuted.append(confirmation)
        if confirmation.figures is not None:
            for constraint in self.constraints:
                self._margins[constraint] = self._margins.get(constraint, 0) + max(
                    constraint.violation(confirmation.figures), 0.0
                )


def short_description(tried: TrialResult) -> str:
    """What it is, and how large."""
    kept, figures = len(tried.trial.variant.keep_float), tried.figures
    ops = f" with {kept} op{'s' * (kept > 1)} in float" if kept else ""
    return f"{tried.trial.in_words}{ops}" + (f", {figures.file.size_bytes:,} bytes" if figures else "")
