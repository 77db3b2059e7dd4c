"""The search itself: plain variants, then the least that mends them, then what needs no ranges at all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tflq.modes import Mode
from tflq.search.mend import mend, prune
from tflq.search.space import TOGGLES, Change, Goal, Space, keeping, kept_by_search
from tflq.trials import CONFIRMING, RANKING, Bar, Bench, Spent, Trial, Tried, meet, quality
from tflq.worker import Finished, Progress, Started

STAGE = "search"
LOOKS = 5
"""At most so many candidates are held against the confirming samples."""
OF_ONE_MODE = 3
"""And so many of one mode, where there are others: these are to have a look, too."""


@dataclass(frozen=True)
class Needed:
    """A change that was taken back alone, and what came of it."""

    change: Change
    tried: Tried
    is_met: bool
    """Whether the bars are met without it too: then it is there for the goal. Never of an op kept in float."""


@dataclass(frozen=True)
class Found:
    """A trial that meets the bars on both sets of samples."""

    deciding: Tried
    confirming: Tried
    needed: tuple[Needed, ...]


@dataclass
class Hunt:
    """A search as it goes on."""

    bench: Bench
    space: Space
    bars: tuple[Bar, ...]
    goal: Goal
    tried: dict[Trial, Tried] = field(default_factory=dict)
    """On the deciding samples, in the order in which they were asked for."""
    refuted: list[Tried] = field(default_factory=list)
    """Met the bars on the deciding samples, and not on the confirming ones: what these showed."""
    is_spent: bool = False
    _margins: dict[Bar, float] = field(default_factory=dict)

    def rank(self, trials: Sequence[Trial]) -> list[Tried]:
        """Try them on a few samples, which makes no candidates of them; raises Spent."""
        try:
            return self.bench.run(trials, RANKING)
        finally:
            self._tell()

    def run(self, trials: Sequence[Trial]) -> list[Tried]:
        """Try them; raises Spent."""
        try:
            return self.bench.run(trials)
        finally:
            for trial in trials:
                if (known := self.bench.known(trial)) is not None:
                    self.tried.setdefault(trial, known)
            self._tell()

    def _tell(self) -> None:
        best, most = self.best(), self.bench.limits.trials
        note = f"best so far: {in_short(best)}" if best else ""
        self.bench.maker.workers.listen(Progress(STAGE, self.bench.count, most or 10**9, note))

    def meets(self, tried: Tried) -> bool:
        """Whether it meets every bar on the deciding samples, with the margin that refuted candidates taught."""
        return meet([replace(bar, value=bar.better(self._margins.get(bar, 0))) for bar in self.bars], tried)

    def cost(self, tried: Tried) -> float:
        assert tried.figures is not None
        return tried.figures.file.size_bytes if self.goal == "size" else tried.figures.file.work

    def quality(self, tried: Tried) -> float:
        """The SQNR in dB that candidates are compared by; -inf for a trial without a file."""
        return quality(tried.figures, self.bench.recipe.measured_on) if tried.figures else -float("inf")

    def best(self) -> Tried | None:
        """Of those that meet the bars, the one to take: of equals the one with the fewest changes, then the best.

        What keeps an op in float that it could do without is not taken, though it may be a few bytes smaller.
        """
        refuted = {one.trial for one in self.refuted}
        left = [one for one in self.tried.values() if not self._is_given_up(one.trial.variant)]
        met = [tried for tried in left if tried.trial not in refuted and self.meets(tried)]
        least = [one for one in met if not any(self._keeps_less(other, one) for other in met)]
        ranked = sorted(least, key=lambda one: (self.cost(one), len(self.space.changes(one.trial)), -self.quality(one)))
        return ranked[0] if ranked else None

    def _is_given_up(self, variant: Mode) -> bool:
        """Whether so much of its mode was refuted that the looks which are left are for others."""
        others = (*self.space.families, *self.space.last)
        count = sum(one.trial.variant.mode == variant.mode for one in self.refuted)
        return count >= OF_ONE_MODE and any(one.mode != variant.mode for one in others)

    def _keeps_less(self, one: Tried, other: Tried) -> bool:
        """Whether it is the same but for ops that only the other one keeps in float."""
        home = self.space.home(other.trial)
        kept = kept_by_search(other.trial, home)
        less = [op for op in kept if f"#{op}" in one.trial.variant.keep_float]
        return len(less) < len(kept) and one.trial == keeping(other.trial, home, less)

    def find(self) -> Found | None:
        """The best that is confirmed; None where nothing is, or where the limits end the search first."""
        started = time.monotonic()
        self.bench.maker.workers.listen(Started(STAGE))
        try:
            for look in range(1, LOOKS + 1):
                needed = self._pursue()
                best = self.best()
                if best is None:
                    return None
                (confirming,) = self.bench.run([best.trial], CONFIRMING)
                if meet(self.bars, confirming, look):
                    return Found(best, confirming, needed)
                self._learn(confirming)
            return None
        finally:
            self.bench.maker.workers.listen(Finished(STAGE, time.monotonic() - started, failed=False))

    def _learn(self, confirming: Tried) -> None:
        """From now on candidates must be better by as much as this one fails the bar."""
        self.refuted.append(confirming)
        if confirming.figures is not None:
            for bar in self.bars:
                self._margins[bar] = self._margins.get(bar, 0) + max(bar.excess(confirming.figures), 0.0)

    def _pursue(self) -> tuple[Needed, ...]:
        """Try until something meets the bars, and take back what it does without."""
        try:
            bases = self._bases()
            for base in bases:
                if self._is_worth_mending(base):
                    mend(self, base)
            if self.best() is None:
                self.run([Trial(mode, self.space.asked) for mode in self.space.last])
            return self._settled()
        except Spent:
            self.is_spent = True
            return ()

    def _is_worth_mending(self, base: Trial) -> bool:
        """Where nothing meets the bars yet, or only what has wider integers and may cost more than the mend."""
        best = self.best()
        is_wider = best is not None and best.trial.variant.activation_bits > base.variant.activation_bits
        return self.space.may_keep_float(base.variant) and (best is None or is_wider)

    def _bases(self) -> list[Trial]:
        """The best plain trial of each family, up to the first that meets the bars."""
        bases = []
        for family in (one for one in self.space.families if not self._is_given_up(one)):
            base = self._plain(family)
            bases += [base] if base else []
            if self.best() is not None:
                break
        return bases

    def _plain(self, family: Mode) -> Trial | None:
        """Each method of ranges; then each option alone, from the best of these; then all that helped together."""
        best = max(self.run(self.space.plain(family)), key=self.quality)
        if best.figures is None:
            return None
        alone = self.run([trial for key in TOGGLES for trial in self.space.toggled(best.trial, key)])
        helpful = [one for one in alone if self.quality(one) > self.quality(best)]
        ranked = sorted(helpful, key=self.quality, reverse=True)
        together = self.space.together(best.trial, [one.trial for one in ranked])
        return max([best, *alone, *self.run([together])], key=self.quality).trial

    def _settled(self) -> tuple[Needed, ...]:
        """Take each change of the best back alone, until nothing better is left; what came of the last.

        Options go first: with others, other ops may be spared, and many of these can be taken back at once.
        """
        while (best := self.best()) is not None:
            changes = self.space.changes(best.trial)
            self.run([change.without for change in changes if change.op is None])
            if self.best() == best:
                prune(self, best.trial)
            if self.best() == best:
                without = self.run([change.without for change in changes])
                return tuple(self._needed(*pair) for pair in zip(changes, without, strict=True))
        return ()

    def _needed(self, change: Change, without: Tried) -> Needed:
        """With what the confirming samples showed, where these refuted it."""
        refuted = next((one for one in self.refuted if one.trial == without.trial), None)
        return Needed(change, refuted or without, refuted is None and self.meets(without))


def in_short(tried: Tried) -> str:
    """What it is, and how large."""
    kept, figures = len(tried.trial.variant.keep_float), tried.figures
    ops = f" with {kept} op{'s' * (kept > 1)} in float" if kept else ""
    return f"{tried.trial.in_words}{ops}" + (f", {figures.file.size_bytes:,} bytes" if figures else "")
