"""The search itself: plain variants, then the least that mends them, then what needs no ranges at all."""

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
"""At most so many candidates are held against the confirming samples."""


@dataclass(frozen=True)
class AblationResult:
    """A change that was taken back alone, and what came of it."""

    change: Change
    tried: TrialResult
    is_met: bool
    """Whether the bars are met without it too: then it is there for the goal. Never of an op kept in float."""


@dataclass(frozen=True)
class FoundTrial:
    """A trial that meets the bars on both sets of samples."""

    selection: TrialResult
    confirmation: TrialResult
    needed: tuple[AblationResult, ...]


@dataclass(frozen=True)
class Search:
    """The steps of a search, whose state they change."""

    state: SearchState

    def find(self) -> FoundTrial | None:
        """The best that is confirmed; None where nothing is, or where the limits end the search first."""
        started = time.monotonic()
        self.state.runner.context.workers.listen(Started(STAGE))
        try:
            for look in range(1, MAX_CONFIRMATIONS + 1):
                needed = self._pursue()
                best = self.state.best()
                if best is None:
                    return None
                (confirmation,) = self.state.runner.run([best.trial], CONFIRMATION)
                if meets_all(self.state.constraints, confirmation, look):
                    return FoundTrial(best, confirmation, needed)
                self.state.learn(confirmation)
            return None
        finally:
            self.state.runner.context.workers.listen(Finished(STAGE, time.monotonic() - started, failed=False))

    def _pursue(self) -> tuple[AblationResult, ...]:
        """Try until something meets the bars, and take back what it does without."""
        try:
            bases = self._bases()
            for base in bases:
                if self._is_worth_mending(base):
                    search_keep_float(self.state, base)
            if self.state.best() is None:
                self.state.run([Trial(mode, self.state.space.request) for mode in self.state.space.last])
            return self._settled()
        except BudgetExhausted:
            self.state.is_spent = True
            return ()

    def _is_worth_mending(self, base: Trial) -> bool:
        """Where nothing meets the bars yet, or only what has wider integers and may cost more than the mend."""
        best = self.state.best()
        is_wider = best is not None and best.trial.variant.activation_bits > base.variant.activation_bits
        return self.state.space.may_keep_float(base.variant) and (best is None or is_wider)

    def _bases(self) -> list[Trial]:
        """The best plain trial of each family, up to the first that meets the bars."""
        bases = []
        for family in (one for one in self.state.space.families if not self.state.is_given_up(one)):
            base = self._plain(family)
            bases += [base] if base else []
            if self.state.best() is not None:
                break
        return bases

    def _plain(self, family: Mode) -> Trial | None:
        """Each method of ranges; then each option alone, from the best of these; then all that helped together."""
        best = max(self.state.run(self.state.space.plain(family)), key=self.state.quality)
        if best.figures is None:
            return None
        alone = self.state.run([trial for key in TOGGLES for trial in self.state.space.toggled(best.trial, key)])
        helpful = [one for one in alone if self.state.quality(one) > self.state.quality(best)]
        ranked = sorted(helpful, key=self.state.quality, reverse=True)
        together = self.state.space.together(best.trial, [one.trial for one in ranked])
        return max([best, *alone, *self.state.run([together])], key=self.state.quality).trial

    def _settled(self) -> tuple[AblationResult, ...]:
        """Take each change of the best back alone, until nothing better is left; what came of the last.

        Options go first: with others, other ops may be spared, and many of these can be taken back at once.
        """
        while (best := self.state.best()) is not None:
            changes = self.state.space.changes(best.trial)
            self.state.run([change.without for change in changes if change.op is None])
            if self.state.best() == best:
                prune(self.state, best.trial)
            if self.state.best() == best:
                without = self.state.run([change.without for change in changes])
                return tuple(self._needed(*pair) for pair in zip(changes, without, strict=True))
        return ()

    def _needed(self, change: Change, without: TrialResult) -> AblationResult:
        """With what the confirming samples showed, where these refuted it."""
        refuted = next((one for one in self.state.refuted if one.trial == without.trial), None)
        return AblationResult(change, refuted or without, refuted is None and self.state.meets(without))
