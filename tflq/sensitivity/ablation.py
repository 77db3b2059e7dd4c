"""Trials with only some ops in float, and with only these quantized: what each wins, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tflq.sensitivity.causes import Cause
from tflq.sensitivity.groups import Group, readers
from tflq.trials import BudgetExhausted, Measurements, Trial, TrialResult, TrialRunner, quality
from tflq.worker import Finished, Progress, Started

WORTH_A_LOOK_DB = 10.0
"""Quantized alone, an op that leaves so much more than all together is a tenth of the noise or less."""
NOTICEABLE_DB = 0.5
Way = Literal["in_float", "with_readers"]


@dataclass(frozen=True)
class KeepFloatGain:
    """What it brings to have ops in float: positive where it is better."""

    way: Way
    db: float
    metric: float | None
    more_bytes: int
    """By which the file grows."""
    more_float_ops: int
    """Neighbours included that cannot be integers then."""
    worth: float
    """Decibels for each op in float, and less the more the file grows."""


@dataclass(frozen=True)
class OpEffect:
    """What trials showed of a group; None is a trial that was not made, or not needed."""

    group: Group
    types: tuple[str, ...]
    tensor: str
    """The first that it makes."""
    sqnr_db: float | None
    """Of that tensor, where all is quantized."""
    readers: tuple[int, ...]
    causes: tuple[Cause, ...]
    in_float: TrialResult | None = None
    alone: TrialResult | None = None
    """Quantized, with all others in float."""
    with_readers: TrialResult | None = None
    """In float together with what reads its output, so that this is never an integer."""
    alone_db: float | None = None
    won: KeepFloatGain | None = None
    """The better of what it wins in float alone, and with its readers."""

    @property
    def rank(self) -> tuple[float, float, int]:
        """What comes first is worth most; of what is worth nothing, what does most harm alone, and of these the first.

        An input alone does what its integers leave of it.
        """
        worth = self.won.worth if self.won and self.won.db >= NOTICEABLE_DB else 0.0
        alone = self.alone_db if self.group.ops else self.sqnr_db
        return -worth, float("inf") if alone is None else round(alone), min(self.group.ops, default=-1)


@dataclass
class AblationSweep:
    """Trials of one variant's groups, the most suspicious first, as long as the limits let them be made."""

    runner: TrialRunner
    trial: Trial
    base: Measurements
    is_spent: bool = False
    tried: dict[Trial, TrialResult] = field(default_factory=dict)
    _all: frozenset[int] = frozenset()

    def run(self, effects: Sequence[OpEffect], leaky: frozenset[int]) -> list[OpEffect]:
        """The effects, best first; `leaky` are ops whose output has a range that spoils what is behind it."""
        graph = self.runner.graph
        self._all = frozenset(op.index for op in graph.subgraphs[0].operators)
        behind = [replace(one, readers=tuple(sorted(readers(graph, one.group, leaky)))) for one in effects]
        of_ops = [one.group for one in behind if one.group.ops]
        apart = [trial for group in of_ops for trial in (self._in_float(group), self._alone(group))]
        self._try("try ops in float, and alone", apart)
        tried = [self._with_trials(one) for one in behind]
        together = [self._with_readers(one) for one in tried if self._is_worth_more_trials(one)]
        self._try("try them with what reads them", together)
        return sorted((self._weighed(self._with_trials(one)) for one in tried), key=lambda one: one.rank)

    def _in_float(self, group: Group) -> Trial:
        return self.kept(group.ops)

    def _alone(self, group: Group) -> Trial:
        return self.kept(self._all - {*group.ops})

    def _with_readers(self, effect: OpEffect) -> Trial:
        return self.kept({*effect.group.ops, *effect.readers})

    def _with_trials(self, effect: OpEffect) -> OpEffect:
        """The effect with what was tried of it so far."""
        if not effect.group.ops:
            return replace(effect, with_readers=self.tried.get(self._with_readers(effect)))
        return replace(
            effect,
            in_float=self.tried.get(self._in_float(effect.group)),
            alone=self.tried.get(self._alone(effect.group)),
            with_readers=self.tried.get(self._with_readers(effect)) if effect.readers else None,
        )

    def _is_worth_more_trials(self, effect: OpEffect) -> bool:
        """Whether it does harm alone, or may, and something would be left to quantize."""
        if not effect.readers or len({*effect.group.ops, *effect.readers}) == len(self._all):
            return False
        alone = effect.alone.figures if effect.alone else None
        return alone is None or self.decibels(alone) < self.decibels(self.base) + WORTH_A_LOOK_DB

    def kept(self, ops: Iterable[int]) -> Trial:
        """The trial with those ops in float besides what the recipe keeps."""
        named = (*self.trial.variant.keep_float, *(f"#{op}" for op in sorted(ops)))
        return replace(self.trial, variant=self.trial.variant.model_copy(update={"keep_float": named}))

    def others(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Those of the trials that the limits let be made."""
        self._try("try other options", trials)
        return [self.tried[trial] for trial in trials if trial in self.tried]

    def _try(self, stage: str, trials: Sequence[Trial]) -> None:
        listen, started, at_once = self.runner.context.workers.listen, time.monotonic(), 4 * self.runner.context.jobs
        listen(Started(stage))
        for start in range(0, len(trials), at_once):
            some = trials[start : start + at_once]
            if not self.is_spent:
                self._run(some)
            listen(Progress(stage, start + len(some), len(trials)))
        listen(Finished(stage, time.monotonic() - started, failed=False))

    def _run(self, trials: Sequence[Trial]) -> None:
        try:
            self.runner.run(trials)
        except BudgetExhausted:
            self.is_spent = True
        known = {trial: self.runner.known(trial) for trial in trials}
        self.tried |= {trial: found for trial, found in known.items() if found is not None}

    def decibels(self, figures: Measurements) -> float:
        return quality(figures, self.runner.recipe.measured_on)

    def _weighed(self, effect: OpEffect) -> OpEffect:
        won = [self._won(way, getattr(effect, way)) for way in ("in_float", "with_readers")]
        found = [one for one in won if one is not None]
        alone = effect.alone.figures if effect.alone else None
        return replace(
            effect,
            won=max(found, key=lambda one: one.worth, default=None),
            alone_db=self.decibels(alone) if alone else None,
        )

    def _won(self, way: Way, tried: TrialResult | None) -> KeepFloatGain | None:
        figures, base = tried.figures if tried else None, self.base
        if figures is None:
            return None
        db, growth = self.decibels(figures) - self.decibels(base), figures.file.size_bytes - base.file.size_bytes
        more = figures.file.float_ops - base.file.float_ops
        metric = base.drop.value - figures.drop.value if figures.drop and base.drop else None
        worth = db / max(more, 1) / (1 + max(growth, 0) / base.file.size_bytes)
        return KeepFloatGain(way, db, metric, growth, more, worth)
