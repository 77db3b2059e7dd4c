"""Outcome → what the terminal shows: where accuracy goes, op by op, and why."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from tflq.sensitivity.ablation import NOTICEABLE_DB, OpEffect
from tflq.sensitivity.sensitivity_result import SensitivityResult
from tflq.trials import TrialResult
from tflq.trials.measurements import EQUAL_DB

TITLE = "in float, instead of integers:"
LEGEND = (
    "Of each op: SQNR of what it makes (here), and of the answer with it alone as an integer (alone); what the answer"
    " gains with it in float, or with it and what reads it (wins), in dB; and the bytes and float ops that this costs."
)
SHOWN = 20
NAMED = 5
"""Causes are told of so many."""


def lines(outcome: SensitivityResult) -> Iterator[str]:
    """Sentences that stand above the table."""
    both, split = outcome.decibels(outcome.base), outcome.split
    weights, activations = outcome.of_outputs(split.weights), outcome.of_outputs(split.activations)
    strict = ", without its promise that nothing is in float" if outcome.is_relaxed else ""
    yield (
        f"{outcome.name}: {outcome.trial.in_words}{strict}, on {outcome.base.samples} samples of"
        f" {outcome.evaluation.dataset}."
    )
    yield (
        f"SQNR {_decibels(both)} dB; with weights alone as integers {_decibels(weights)}, with activations alone"
        f" {_decibels(activations)}."
    )
    bad = outcome.first_bad
    if bad is not None:
        name = _short(next(one.name for one in outcome.tensors if one.operator == bad.operator))
        yield (
            f"The first op that loses much is #{bad.operator} {outcome.types[bad.operator]} {name}: it reads"
            f" {_decibels(bad.before_db)} dB and makes {_decibels(bad.after_db)}."
        )
    for note in outcome.notes:
        yield f"Note: {note}."
    yield LEGEND


def rich_table(outcome: SensitivityResult, width: int) -> Table:
    """The best of the effects, in so many columns, which should be 80 or more; all are in the report."""
    shown = Table(title=TITLE, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    metric = [outcome.evaluation.scoring.name] if outcome.evaluation.scoring else []
    header = ("", "", "here", "alone", "wins", *metric, "bytes", "ops")
    rows = [_row(effect, bool(metric)) for effect in outcome.effects[:SHOWN]]
    others = sum(max([len(name), *(len(row[i]) for row in rows)]) + 2 for i, name in enumerate(header) if i != 1)
    for name in header:
        shown.add_column(name, justify="right" if name else "left", no_wrap=True)
    for first, what, *figures in rows:
        shown.add_row(*(Text(cell) for cell in (first, _cut(what, width - others), *figures)))
    return shown


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width, 1) - 1]}…"


def _row(effect: OpEffect, is_scored: bool) -> tuple[str, ...]:
    won = effect.won
    what = (effect.group.name, f"{', '.join(effect.types)} {_short(effect.tensor)}".strip())
    seen = (_decibels(effect.sqnr_db), _decibels(effect.alone_db))
    if won is None:
        return (*what, *seen, *[""] * (4 if is_scored else 3))
    readers = f", {_numbers(effect.readers)}" if won.way == "with_readers" else ""
    metric = [f"{won.metric:+.4f}"] if is_scored and won.metric is not None else [""] * is_scored
    return (
        what[0] + readers,
        what[1],
        *seen,
        f"{won.db:+.1f}",
        *metric,
        f"{won.more_bytes:+,}",
        f"{won.more_float_ops:+d}",
    )


def findings(outcome: SensitivityResult) -> Iterator[str]:
    """Sentences that stand below the table: causes of the worst, and what costs nothing."""
    for effect in [one for one in outcome.effects[:NAMED] if one.causes and _matters(one, outcome)]:
        what = f"{effect.group.name} {', '.join(effect.types)} {_short(effect.tensor)}".replace("  ", " ")
        yield f"{what}: {effect.causes[0].said}."
    for tried in outcome.remedies:
        won = outcome.decibels(tried.figures) - outcome.decibels(outcome.base) if tried.figures else 0.0
        if won >= NOTICEABLE_DB:
            yield f"With {_changed(outcome, tried)}, and nothing more in float, {won:+.1f} dB."
    if outcome.is_spent:
        yield "The limits ended this before all was tried; run it again with wider ones, and it goes on from here."


def _changed(outcome: SensitivityResult, tried: TrialResult) -> str:
    """As the recipe would say it."""
    if tried.trial.ranges == outcome.trial.ranges:
        keys = ("per_channel", "per_channel_dense")
        return ", ".join(f"{key}: true" for key in keys if not getattr(outcome.trial.variant, key))
    ranges = tried.trial.ranges
    return f"ranges: {ranges if isinstance(ranges, str) else f'{{percentile: {ranges.percentile:g}}}'}"


def _matters(effect: OpEffect, outcome: SensitivityResult) -> bool:
    if effect.won and effect.won.db >= NOTICEABLE_DB:
        return True
    return effect.alone_db is None or effect.alone_db < outcome.decibels(outcome.base) + 10


def _numbers(ops: tuple[int, ...]) -> str:
    """Two of them, or one and how many more."""
    return ", ".join(f"#{op}" for op in ops) if len(ops) < 3 else f"#{ops[0]} and {len(ops) - 1} more"


def _decibels(value: float | None) -> str:
    if value is None:
        return ""
    return "exact" if value >= EQUAL_DB else f"{value:.1f}"


def _short(name: str) -> str:
    """Of an op made of several, the name of the first."""
    return name.split(";")[0]
