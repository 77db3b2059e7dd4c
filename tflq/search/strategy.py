"""The steps of a search: methods and options, then ops in float, then modes without ranges."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tflq.modes import Mode
from tflq.search.keep_float_search import prune, search_keep_float
from tflq.search.space import TOGGLES, Change
from tflq.search.state import STAGE, SearchState
from tflq.trials import CONFIRMATION, BudgetExhausted, Trial, TrialResult, meets_all
from tflq.worker import Finished, Started

MAX_CONFIRMATIONS = 5
"""The largest number of candidates that are measured on the confirmation samples."""


@dataclass(frozen=True)
class AblationResult:
    """A change that was taken back alone, and the result without it."""

    change: Change
    result: TrialResult
    is_met: bool
    """Whether the constraints are met without the change too. Then the change only serves the goal."""


@dataclass(frozen=True)
class FoundTrial:
    """A trial that meets the constraints on the selection and the confirmation samples."""

    selection: TrialResult
    confirmation: TrialResult
    ablations: tuple[AblationResult, ...]
    """One result for each change from the recipe."""


@dataclass(frozen=True)
class Search:
    """The steps of a search. They change its state."""

    state: SearchState

    def find(self) -> FoundTrial | None:
        """Return the best trial that is confirmed, or None if there is none or the limits end the search first."""
        started = time.monotonic()
        self.state.runner.context.workers.listen(Started(STAGE))
        try:
            for look in range(1, MAX_CONFIRMATIONS + 1):
                ablations = self._explore()
                best = self.state.best()
                if best is None:
                    return None
                (confirmation,) = self.state.runner.run([best.trial], CONFIRMATION)
                if meets_all(self.state.constraints, confirmation, look):
                    return FoundTrial(best, confirmation, ablations)
                self.state.reject(confirmation)
            return None
        finally:
            self.state.runner.context.workers.listen(Finished(STAGE, time.monotonic() - started, failed=False))

    def _explore(self) -> tuple[AblationResult, ...]:
        """Run trials until one meets the constraints. Then take back the changes that it does not need."""
        try:
            bases = self._bases()
            for base in bases:
                if self._needs_float_ops(base):
                    search_keep_float(self.state, base)
            if self.state.best() is None:
                self.state.run([Trial(variant, self.state.space.ranges) for variant in self.state.space.last])
            return self._take_back_changes()
        except BudgetExhausted:
            self.state.is_spent = True
            return ()

    def _needs_float_ops(self, base: Trial) -> bool:
        """Return whether to keep ops in float: no trial meets the constraints yet, or only one with wider integers."""
        best = self.state.best()
        is_wider = best is not None and best.trial.variant.activation_bits > base.variant.activation_bits
        return self.state.space.may_keep_float(base.variant) and (best is None or is_wider)

    def _bases(self) -> list[Trial]:
        """Return the best trial of each family without ops in float, up to the first that meets the constraints."""
        bases = []
        for family in (variant for variant in self.state.space.families if not self.state.is_given_up(variant)):
            base = self._best_options(family)
            bases += [base] if base else []
            if self.state.best() is not None:
                break
        return bases

    def _best_options(self, family: Mode) -> Trial | None:
        """Try each method of ranges, then each option alone with the best method, then all helpful options together."""
        best = max(self.state.run(self.state.space.trials_by_method(family)), key=self.state.quality)
        if best.figures is None:
            return None
        alone = self.state.run([trial for key in TOGGLES for trial in self.state.space.toggle(best.trial, key)])
        helpful = [result for result in alone if self.state.quality(result) > self.state.quality(best)]
        ranked = sorted(helpful, key=self.state.quality, reverse=True)
        together = self.state.space.combine(best.trial, [result.trial for result in ranked])
        return max([best, *alone, *self.state.run([together])], key=self.state.quality).trial

    def _take_back_changes(self) -> tuple[AblationResult, ...]:
        """Take back each change of the best trial alone, until no better trial turns up. Return the last results.

        Options go first, because the ops that must stay in float depend on them.
        """
        while (best := self.state.best()) is not None:
            changes = self.state.space.changes(best.trial)
            self.state.run([change.without for change in changes if change.op is None])
            if self.state.best() == best:
                prune(self.state, best.trial)
            if self.state.best() == best:
                without = self.state.run([change.without for change in changes])
                return tuple(self._ablation(*pair) for pair in zip(changes, without, strict=True))
        return ()

    def _ablation(self, change: Change, without: TrialResult) -> AblationResult:
        """Return the result without the change: that on the confirmation samples if it was rejected there."""
        rejected = next((result for result in self.state.rejected if result.trial == without.trial), None)
        return AblationResult(change, rejected or without, rejected is None and self.state.meets(without))
