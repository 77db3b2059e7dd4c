"""The state of a search: its trials, how they compare, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tflq.modes import Mode
from tflq.search.candidate import Candidate, birge_ratio, seen_spread
from tflq.search.options import Goal
from tflq.search.space import OP_KEYS, Space, named_by_search, with_ops
from tflq.trials import CONFIRMATION, RANKING, Constraint, Trial, TrialResult, TrialRunner, meets_all, quality
from tflq.worker import Progress

STAGE = "search"
MAX_CANDIDATES_OF_ONE_MODE = 3
"""The largest number of refuted candidates of one mode, while there are other modes."""
DEAD_CHANNEL_DB = 100.0
"""The loss of SQNR that one dead channel beyond the limit counts as, when trials are compared."""


@dataclass
class SearchState:
    """The trials of a search so far, the refuted candidates, and the best trial."""

    runner: TrialRunner
    space: Space
    constraints: tuple[Constraint, ...]
    goal: Goal
    results: dict[Trial, TrialResult] = field(default_factory=dict)
    """The results on the selection samples, in the order of the requests."""
    refuted: list[Candidate] = field(default_factory=list)
    """The candidates that failed on the confirmation samples."""
    bound: Candidate | None = None
    """The cheapest confirmed trial so far, at first of a mode without ranges. Only a cheaper file is better."""
    confirmed: list[Candidate] = field(default_factory=list)
    """The candidates that met the constraints on the confirmation samples too."""
    is_spent: bool = False
    """Whether the limits ended the search."""

    def rank(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Run trials on a few samples, to rank them only. Raise BudgetExhausted if the limits do not allow all."""
        try:
            return self.runner.run(trials, RANKING, self.reserve)
        finally:
            self._report_progress()

    def run(self, trials: Sequence[Trial], reserve: int | None = None) -> list[TrialResult]:
        """Run trials and add their results. Raise BudgetExhausted if the limits do not allow all.

        `reserve`: how many trials to leave for later; by default one for each family that has none yet.
        """
        modes = {trial.variant.mode for trial in trials}
        others = len([family for family in self.untried if family.mode not in modes]) if self.reserve else 0
        try:
            return self.runner.run(trials, reserve=others if reserve is None else reserve)
        finally:
            for trial in trials:
                if (result := self.runner.selection_result(trial)) is not None:
                    self.results.setdefault(trial, result)
            self._report_progress()

    @property
    def untried(self) -> list[Mode]:
        """The families that have no trial yet."""
        tried = {trial.variant.mode for trial in self.results}
        return [family for family in self.space.families if family.mode not in tried]

    @property
    def reserve(self) -> int:
        """Number of trials to leave for families that have none yet. With a confirmed answer, none are needed."""
        return 0 if self.bound else len(self.untried)

    def _report_progress(self) -> None:
        best, most = self.best() or (self.bound and self.bound.selection), self.runner.limits.trials
        note = f"best so far: {short_description(best)}" if best else ""
        self.runner.context.workers.listen(Progress(STAGE, self.runner.count, most, note))

    def meets(self, result: TrialResult) -> bool:
        """Return whether the trial meets all constraints, with a margin once candidates were refuted.

        The margin is that of one more look at the confirmation samples. It is counted in standard errors of the
        difference between the trial's values on both sets of samples, times the Birge ratio of the refuted candidates.
        """
        figures, look = result.figures, len(self.refuted) + 1
        if figures is None or figures.fault:
            return False
        rows = math.sqrt(1 + figures.samples / self.runner.evaluations[CONFIRMATION].stored.count)
        return all(
            constraint.violation(figures, look, rows * birge_ratio(constraint, self.refuted)) <= 0
            for constraint in self.constraints
        )

    def cost(self, result: TrialResult) -> float:
        """Return the value to minimize: bytes of the file or of memory, multiply-adds of int8, or milliseconds.

        It is infinite if it is not known.
        """
        assert result.figures is not None
        file = result.figures.file
        values: dict[Goal, float | None] = {
            "size": file.size_bytes,
            "latency": file.work,
            "ram": file.ram_bytes,
            "target-time": file.estimated_ms,
        }
        value = values[self.goal]
        return math.inf if value is None else value

    def is_cheaper(self, result: TrialResult) -> bool:
        """Return whether the file of the trial costs less than the bound, or it is not known what it costs."""
        if self.bound is None or result.figures is None:
            return True
        is_unknown = math.isinf(self.cost(result)) and not meets_all(self.constraints, result)
        return is_unknown or self.cost(result) < self.cost(self.bound.selection)

    def quality(self, result: TrialResult) -> float:
        """Return the SQNR in dB by which trials are compared; -inf for a trial without a file.

        A dead channel counts as DEAD_CHANNEL_DB, because the SQNR of a whole output hardly shows it.
        """
        if result.figures is None:
            return -float("inf")
        limits = [constraint.value for constraint in self.constraints if constraint.kind == "max_dead_channels"]
        dead = max(result.figures.dead_channels - limits[0], 0) if limits else 0
        return quality(result.figures, self.runner.recipe.measured_on) - DEAD_CHANNEL_DB * dead

    def best(self) -> TrialResult | None:
        """Return the cheapest trial that meets the constraints; of equals, the one with fewest changes, then the best.

        A trial is left out if another one is the same with fewer ops named. It may be a few bytes smaller.
        """
        left = [result for result in self._unrefuted() if not self.is_given_up(result.trial.variant)]
        met = [result for result in left if self.is_cheaper(result) and self.meets(result)]
        minimal = [result for result in met if not any(self._keeps_less(other, result) for other in met)]

        def order(result: TrialResult) -> tuple[float, int, float]:
            return self.cost(result), len(self.space.changes(result.trial)), -self.quality(result)

        return min(minimal, key=order, default=None)

    def widest(self) -> TrialResult | None:
        """Return the trial cheaper than the bound that meets the constraints by the widest margin.

        The margin is counted in standard errors, to which the spread of refuted candidates is added. It has no least
        value here, and no mode is given up.
        """
        left = [result for result in self._unrefuted() if self.is_cheaper(result)]
        met = [result for result in left if meets_all(self.constraints, result)]
        spreads = {constraint: seen_spread(constraint, self.refuted) for constraint in self.constraints}

        def margin(result: TrialResult) -> float:
            assert result.figures is not None
            return min(constraint.margin(result.figures, spread) for constraint, spread in spreads.items())

        return max(met, key=margin, default=None)

    def _unrefuted(self) -> list[TrialResult]:
        """Return the results whose file was not refuted, also not with other options that make the same file."""
        trials = {candidate.selection.trial for candidate in self.refuted}
        files = {candidate.sha256 for candidate in self.refuted}
        return [
            result
            for result in self.results.values()
            if result.figures and result.trial not in trials and result.figures.file.sha256 not in files
        ]

    def is_given_up(self, variant: Mode) -> bool:
        """Return whether so many candidates of its mode were refuted that only other modes are tried."""
        variants = (*self.space.families, *self.space.free)
        count = sum(candidate.selection.trial.variant.mode == variant.mode for candidate in self.refuted)
        return count >= MAX_CANDIDATES_OF_ONE_MODE and any(other.mode != variant.mode for other in variants)

    def _keeps_less(self, result: TrialResult, other: TrialResult) -> bool:
        """Return whether the first trial is the second one with fewer ops in float or in 16 bits."""
        recipe_trial = self.space.recipe_trial(other.trial)
        for key in OP_KEYS:
            named = named_by_search(other.trial, recipe_trial, key)
            fewer = [op for op in named if f"#{op}" in getattr(result.trial.variant, key)]
            if len(fewer) < len(named) and result.trial == with_ops(other.trial, recipe_trial, key, fewer):
                return True
        return False

    def confirm(self, selection: TrialResult) -> Candidate | None:
        """Measure the trial on the confirmation samples, and return it if it meets the constraints there too.

        Each refuted candidate makes the next one's test stricter.
        """
        (confirmation,) = self.runner.run([selection.trial], CONFIRMATION)
        candidate = Candidate(selection, confirmation)
        if meets_all(self.constraints, confirmation, len(self.refuted) + 1):
            self.confirmed.append(candidate)
            return candidate
        self.refuted.append(candidate)
        return None


def short_description(result: TrialResult) -> str:
    """Return the trial in words, with the number of ops in float and the size."""
    variant, figures = result.trial.variant, result.figures
    counts = {"in float": len(variant.keep_float), "in 16 bits": len(variant.keep_int16)}
    named = [f"{count} op{'s' * (count > 1)} {where}" for where, count in counts.items() if count]
    ops = f" with {' and '.join(named)}" if named else ""
    return f"{result.trial.in_words}{ops}" + (f", {figures.file.size_bytes:,} bytes" if figures else "")
