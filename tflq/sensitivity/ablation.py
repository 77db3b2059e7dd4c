"""Ablation: trials with only one group of ops in float, and with only that group quantized."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tflq.modes import WITH_INT16_OPS
from tflq.op_selectors import select
from tflq.sensitivity.causes import Cause
from tflq.sensitivity.groups import Group, quantizable, readers
from tflq.trials import BudgetExhausted, Measurements, Trial, TrialResult, TrialRunner, quality
from tflq.worker import Finished, Progress, Started

WORTH_A_LOOK_DB = 10.0
"""An op makes a tenth of the noise or less if it alone leaves this much more SQNR than all ops."""
NOTICEABLE_DB = 0.5
"""A smaller gain is not reported as one."""
Way = Literal["in_float", "with_readers", "in_int16", "int16_with_readers"]


@dataclass(frozen=True)
class OpGain:
    """The gain and the cost of ops in float or in 16 bits. Positive values of `db` and `metric` are better."""

    way: Way
    db: float
    metric: float | None
    more_bytes: int
    """The growth of the file in bytes."""
    more_float_ops: int
    """Number of additional float ops, including neighbours that cannot be integers then."""
    more_int16_ops: int
    """Number of additional ops with 16-bit activations."""
    worth: float
    """Decibels for each op in float or in 16 bits, reduced if the file grows. Effects are ranked by it."""
    revived_channels: int = 0
    """The number of dead channels of the outputs that vary again; negative if there are more dead channels."""


@dataclass(frozen=True)
class OpEffect:
    """The trial results of one group of ops; None for a trial that was not run or not needed."""

    group: Group
    types: tuple[str, ...]
    tensor: str
    """The name of the first output tensor of the group."""
    sqnr_db: float | None
    """The SQNR of the group's worst output tensor, if everything is quantized."""
    readers: tuple[int, ...]
    causes: tuple[Cause, ...]
    in_float: TrialResult | None = None
    alone: TrialResult | None = None
    """The group quantized, with all other ops in float."""
    with_readers: TrialResult | None = None
    """The group in float together with the ops that read its output, so that the output stays in float."""
    in_int16: TrialResult | None = None
    """The group with 16-bit activations; None if it has no such kernels."""
    int16_with_readers: TrialResult | None = None
    """The group and the ops that read its output with 16-bit activations."""
    alone_db: float | None = None
    gain: OpGain | None = None
    """The better gain: with the group alone in float, or with its readers too."""
    int16_gain: OpGain | None = None
    """The better gain in 16 bits, likewise."""

    @property
    def rank(self) -> tuple[int, float, float, int]:
        """The sort key: the most revived channels first, then the largest worth.

        Without a noticeable gain, the lowest SQNR alone is first.

        For an input of the model, the SQNR of its integers counts as the SQNR alone.
        """
        worth = self.gain.worth if self.gain and self.gain.db >= NOTICEABLE_DB else 0.0
        alone = self.alone_db if self.group.ops else self.sqnr_db
        revived = self.gain.revived_channels if self.gain else 0
        return -revived, -worth, float("inf") if alone is None else round(alone), min(self.group.ops, default=-1)


@dataclass
class AblationSweep:
    """Trials of the groups of one variant, the most suspicious group first, until the limits end them."""

    runner: TrialRunner
    trial: Trial
    base: Measurements
    is_spent: bool = False
    results: dict[Trial, TrialResult] = field(default_factory=dict)
    _all_ops: frozenset[int] = frozenset()
    _int16_ops: frozenset[int] = frozenset()
    """The ops that can have 16-bit activations."""

    def run(self, effects: Sequence[OpEffect], leaky: frozenset[int]) -> list[OpEffect]:
        """Return the effects with their trials, the best first.

        `leaky` are the ops whose output has a range that harms the ops behind it.
        """
        graph = self.runner.graph
        self._all_ops = frozenset(op.index for op in graph.subgraphs[0].operators)
        if self.trial.variant.mode in WITH_INT16_OPS:
            self._int16_ops = quantizable(graph, "int16") - select(graph, self.trial.variant.keep_float)
        effects = [replace(effect, readers=tuple(sorted(readers(graph, effect.group, leaky)))) for effect in effects]
        groups_of_ops = [effect.group for effect in effects if effect.group.ops]
        single = [trial for group in groups_of_ops for trial in (self._in_float(group), self._alone(group))]
        self._run_stage("try ops in float, and alone", single)
        effects = [self._with_trials(effect) for effect in effects]
        together = [self._with_readers(effect) for effect in effects if self._is_worth_more_trials(effect)]
        self._run_stage("try ops with their readers in float", together)
        widened = [
            trial for effect in effects if self._may_do_harm(effect) for trial in self._in_int16(effect).values()
        ]
        if widened:
            self._run_stage("try ops in 16 bits", widened)
        return sorted(
            (self._with_gain(self._with_trials(effect)) for effect in effects), key=lambda effect: effect.rank
        )

    def _in_float(self, group: Group) -> Trial:
        return self.keep_in_float(group.ops)

    def _alone(self, group: Group) -> Trial:
        return self.keep_in_float(self._all_ops - {*group.ops})

    def _with_readers(self, effect: OpEffect) -> Trial:
        return self.keep_in_float({*effect.group.ops, *effect.readers})

    def _in_int16(self, effect: OpEffect) -> dict[Way, Trial]:
        """Return the trials of the group in 16 bits, alone and with its readers, as far as there are kernels."""
        own, behind = {*effect.group.ops}, self._int16_ops & {*effect.readers}
        groups: dict[Way, set[int]] = {"in_int16": own, "int16_with_readers": own | behind if behind else set()}
        return {way: self.widen(ops) for way, ops in groups.items() if ops and ops <= self._int16_ops}

    def _with_trials(self, effect: OpEffect) -> OpEffect:
        """Return the effect with the results of its trials so far."""
        widened = {way: self.results.get(trial) for way, trial in self._in_int16(effect).items()}
        effect = replace(effect, in_int16=widened.get("in_int16"), int16_with_readers=widened.get("int16_with_readers"))
        if not effect.group.ops:
            return replace(effect, with_readers=self.results.get(self._with_readers(effect)))
        return replace(
            effect,
            in_float=self.results.get(self._in_float(effect.group)),
            alone=self.results.get(self._alone(effect.group)),
            with_readers=self.results.get(self._with_readers(effect)) if effect.readers else None,
        )

    def _is_worth_more_trials(self, effect: OpEffect) -> bool:
        """Return whether the group does or may do harm alone, and other ops would be left to quantize."""
        if not effect.readers or len({*effect.group.ops, *effect.readers}) == len(self._all_ops):
            return False
        return self._may_do_harm(effect)

    def _may_do_harm(self, effect: OpEffect) -> bool:
        """Return whether the group does or may do harm alone."""
        alone = effect.alone.figures if effect.alone else None
        return alone is None or self.decibels(alone) < self.decibels(self.base) + WORTH_A_LOOK_DB

    def keep_in_float(self, ops: Iterable[int]) -> Trial:
        """Return the trial with those ops in float, in addition to those that the recipe keeps."""
        return self._with_ops("keep_float", ops)

    def widen(self, ops: Iterable[int]) -> Trial:
        """Return the trial with those ops in 16 bits, in addition to those of the recipe."""
        return self._with_ops("keep_int16", ops)

    def _with_ops(self, key: Literal["keep_float", "keep_int16"], ops: Iterable[int]) -> Trial:
        """Return the trial with those ops under that key. An op that keep_float gets leaves keep_int16."""
        variant = self.trial.variant
        update: dict[str, tuple[str, ...]] = {key: (*getattr(variant, key), *(f"#{op}" for op in sorted(ops)))}
        if key == "keep_float" and variant.keep_int16:
            left = select(self.runner.graph, variant.keep_int16, "keep_int16") - {*ops}
            update["keep_int16"] = tuple(f"#{op}" for op in sorted(left))
        return replace(self.trial, variant=variant.model_copy(update=update))

    def run_remedies(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Run trials with other options. Return the results that the limits allow."""
        self._run_stage("try other options", trials)
        return [self.results[trial] for trial in trials if trial in self.results]

    def _run_stage(self, stage: str, trials: Sequence[Trial]) -> None:
        listen, started, at_once = self.runner.context.workers.listen, time.monotonic(), 4 * self.runner.context.jobs
        listen(Started(stage))
        for start in range(0, len(trials), at_once):
            chunk = trials[start : start + at_once]
            if not self.is_spent:
                self._run(chunk)
            listen(Progress(stage, start + len(chunk), len(trials)))
        listen(Finished(stage, time.monotonic() - started, failed=False))

    def _run(self, trials: Sequence[Trial]) -> None:
        try:
            self.runner.run(trials)
        except BudgetExhausted:
            self.is_spent = True
        results = {trial: self.runner.selection_result(trial) for trial in trials}
        self.results |= {trial: result for trial, result in results.items() if result is not None}

    def decibels(self, figures: Measurements) -> float:
        """Return the SQNR in dB that the study compares."""
        return quality(figures, self.runner.recipe.measured_on)

    def _with_gain(self, effect: OpEffect) -> OpEffect:
        alone = effect.alone.figures if effect.alone else None
        return replace(
            effect,
            gain=self._best(effect, ("in_float", "with_readers")),
            int16_gain=self._best(effect, ("in_int16", "int16_with_readers")),
            alone_db=self.decibels(alone) if alone else None,
        )

    def _best(self, effect: OpEffect, ways: tuple[Way, ...]) -> OpGain | None:
        """Return the better gain of these ways."""
        gains = [gain for way in ways if (gain := self._gain(way, getattr(effect, way))) is not None]
        return max(gains, key=lambda gain: (gain.revived_channels, gain.worth), default=None)

    def _gain(self, way: Way, result: TrialResult | None) -> OpGain | None:
        figures, base = result.figures if result else None, self.base
        if figures is None:
            return None
        db, growth = self.decibels(figures) - self.decibels(base), figures.file.size_bytes - base.file.size_bytes
        more = figures.file.float_ops - base.file.float_ops
        wider = figures.file.int16_ops - base.file.int16_ops
        metric = base.drop.value - figures.drop.value if figures.drop and base.drop else None
        worth = db / max(more, wider, 1) / (1 + max(growth, 0) / base.file.size_bytes)
        revived = base.dead_channels - figures.dead_channels
        return OpGain(way, db, metric, growth, more, wider, worth, revived)
