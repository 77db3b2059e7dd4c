"""The steps of a search: modes without ranges, then methods and options, then ops in float."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tflq.modes import Mode
from tflq.search.candidate import Candidate
from tflq.search.op_search import prune, search_ops
from tflq.search.space import TOGGLES, Change
from tflq.search.state import STAGE, SearchState
from tflq.trials import BudgetExhausted, Trial, TrialResult
from tflq.worker import Finished, Started

MAX_CONFIRMATIONS = 5
"""The largest number of best trials that are measured on the confirmation samples, one after the other."""


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

    candidate: Candidate
    ablations: tuple[AblationResult, ...] = ()
    """One result for each change from the recipe, if the changes were taken back."""

    @property
    def selection(self) -> TrialResult:
        return self.candidate.selection

    @property
    def confirmation(self) -> TrialResult:
        return self.candidate.confirmation


@dataclass(frozen=True)
class Search:
    """The steps of a search. They change its state."""

    state: SearchState

    def find(self) -> FoundTrial | None:
        """Return the cheapest trial that is confirmed, or None if there is none."""
        started = time.monotonic()
        self.state.runner.context.workers.listen(Started(STAGE))
        try:
            self._try_free_modes()
            found = self._find_cheaper()
            if self.state.refuted or found is None:
                found = self._confirm_widest(found)
            return found
        finally:
            self.state.runner.context.workers.listen(Finished(STAGE, time.monotonic() - started, failed=False))

    def _try_free_modes(self) -> None:
        """Try the modes that have nothing to vary. The cheapest that is confirmed bounds all that follows."""
        space = self.state.space
        try:
            self.state.run([space.plain_trial(variant) for variant in space.free], reserve=0)
        except BudgetExhausted:
            self.state.is_spent = True
        while self.state.bound is None and (best := self.state.best()) is not None:
            self.state.bound = self.state.confirm(best)

    def _find_cheaper(self) -> FoundTrial | None:
        """Return the best trial that is confirmed and costs less than the bound, or None after a few refuted ones."""
        for _ in range(MAX_CONFIRMATIONS):
            ablations = self._explore()
            best = self.state.best()
            if best is None:
                return None
            if (candidate := self.state.confirm(best)) is not None:
                return FoundTrial(candidate, ablations)
        return None

    def _confirm_widest(self, found: FoundTrial | None) -> FoundTrial | None:
        """Confirm what meets the constraints by the widest margin, so that refuted candidates do not hide it.

        Only what is cheaper than `found` or the bound is of use. If it is confirmed, it is the new bound. Then the
        widest of what is cheaper still follows, up to the first that fails. Return the cheapest that is confirmed.
        """
        self.state.bound = found.candidate if found else self.state.bound
        if self.state.bound is None:
            self._try_families()
        for _ in range(MAX_CONFIRMATIONS):
            widest = self.state.widest()
            candidate = self.state.confirm(widest) if widest is not None else None
            if candidate is None:
                break
            self.state.bound = candidate
        bound = self.state.bound
        return found if bound is None or (found and found.candidate is bound) else self._with_ablations(bound)

    def _try_families(self) -> None:
        """Give families that the limits left out the trial that was reserved for them."""
        try:
            self.state.run([self.state.space.plain_trial(family) for family in self.state.untried], reserve=0)
        except BudgetExhausted:
            self.state.is_spent = True

    def _with_ablations(self, candidate: Candidate) -> FoundTrial:
        """Return the candidate as what was found, with the results of taking back each of its changes alone."""
        changes = self.state.space.changes(candidate.selection.trial)
        try:
            without = self.state.run([change.without for change in changes])
        except BudgetExhausted:
            self.state.is_spent = True
            return FoundTrial(candidate)
        return FoundTrial(candidate, tuple(self._ablation(*pair) for pair in zip(changes, without, strict=True)))

    def _explore(self) -> tuple[AblationResult, ...]:
        """Run trials until one meets the constraints. Then take back the changes that it does not need."""
        try:
            for base in self._bases():
                for key in self.state.space.op_keys(base.variant):
                    if self._needs_other_ops(base):
                        search_ops(self.state, base, key)
            return self._take_back_changes()
        except BudgetExhausted:
            self.state.is_spent = True
            return ()

    def _needs_other_ops(self, base: Trial) -> bool:
        """Return whether to name ops: no trial meets the constraints yet, or only one with wider integers.

        Ops in float or in 16 bits only add to the cost, so a base that costs as much as the bound is left as it is.
        """
        if not self.state.is_cheaper(self.state.results[base]):
            return False
        best = self.state.best()
        is_wider = best is not None and best.trial.variant.activation_bits > base.variant.activation_bits
        return best is None or is_wider

    def _bases(self) -> list[Trial]:
        """Return the best trial of each family without ops in float, up to the first that meets the constraints."""
        bases = []
        for family in (variant for variant in self.state.space.families if not self.state.is_given_up(variant)):
            base = self._best_options(family) if self._may_be_cheaper(family) else None
            bases += [base] if base else []
            if self.state.best() is not None:
                break
        return bases

    def _may_be_cheaper(self, family: Mode) -> bool:
        """Return whether a file of the family without ops in float costs less than the bound."""
        plain = self.state.space.plain_trial(family)
        if self.state.bound is None or self.state.is_cheaper(*self.state.run([plain])):
            return True
        per_tensor = self.state.run(self.state.space.toggle(plain, "per_channel"))
        return any(self.state.is_cheaper(result) for result in per_tensor)

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

        Options go first, because the ops that must be in float or in 16 bits depend on them.
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
        """Return the result without the change: that on the confirmation samples if it was refuted there."""
        refuted = (
            candidate.confirmation for candidate in self.state.refuted if candidate.selection.trial == without.trial
        )
        confirmation = next(refuted, None)
        is_confirmed = any(candidate.selection.trial == without.trial for candidate in self.state.confirmed)
        is_met = confirmation is None and (is_confirmed or self.state.meets(without))
        return AblationResult(change, confirmation or without, is_met)
