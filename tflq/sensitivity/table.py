"""SensitivityResult → what the terminal shows: the loss of each op, and its cause."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from tflq.metrics.estimate import EQUAL_DB
from tflq.sensitivity.ablation import NOTICEABLE_DB, OpEffect
from tflq.sensitivity.sensitivity_result import SensitivityResult
from tflq.trials import TrialResult

TITLE = "Gain of ops in float:"
LEGEND = (
    "SQNR of the op's output (here), and of the model's output with only this op as an integer (alone); gain of the"
    " model's output with this op, or this op and its readers, in float (wins), all in dB; cost of this gain in bytes"
    " and float ops; the same gain in 16 bits."
)
MAX_ROWS = 20
"""The largest number of effects in the table."""
MAX_CAUSES = 5
"""The largest number of effects whose cause is printed."""


def lines(outcome: SensitivityResult) -> Iterator[str]:
    """Yield the sentences above the table."""
    whole, split = outcome.decibels(outcome.base), outcome.split
    weights, activations = outcome.of_outputs(split.weights), outcome.of_outputs(split.activations)
    relaxed = ", with ops in float allowed for this study" if outcome.is_relaxed else ""
    yield (
        f"{outcome.name}: {outcome.trial.in_words}{relaxed}, on {outcome.base.samples:,} samples of"
        f" {outcome.evaluation.dataset}."
    )
    yield (
        f"SQNR {_decibels(whole)} dB; with only the weights as integers {_decibels(weights)} dB; with only the"
        f" activations {_decibels(activations)} dB."
    )
    if outcome.base.dead_channels:
        dead = outcome.base.dead_channels
        yield f"Dead channels: {dead}. They vary in the float32 file, but are constant in this file."
    bad = outcome.first_bad
    if bad is not None:
        name = _short(next(tensor.name for tensor in outcome.tensors if tensor.operator == bad.operator))
        yield (
            f"The first op that loses much is #{bad.operator} {outcome.types[bad.operator]} {name}: its inputs have"
            f" {_decibels(bad.before_db)} dB, its output {_decibels(bad.after_db)} dB."
        )
    for note in outcome.notes:
        yield f"Note: {note}."
    yield LEGEND


def rich_table(outcome: SensitivityResult, width: int) -> Table:
    """Return the table of the best effects. `width`: columns of the terminal, 80 or more."""
    grid = Table(title=TITLE, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    metric = [outcome.evaluation.scoring.name] if outcome.evaluation.scoring else []
    has_int16 = any(effect.int16_gain for effect in outcome.effects)
    header = ("", "", "here", "alone", "wins", *metric, "bytes", "ops", *(["16 bits"] if has_int16 else []))
    rows = [
        (*_row(effect, bool(metric)), *([_in_int16(effect)] if has_int16 else []))
        for effect in outcome.effects[:MAX_ROWS]
    ]
    others = sum(max([len(name), *(len(row[i]) for row in rows)]) + 2 for i, name in enumerate(header) if i != 1)
    for name in header:
        grid.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, op, *cells in rows:
        grid.add_row(*(Text(cell) for cell in (name, _cut(op, width - others), *cells)))
    return grid


def _in_int16(effect: OpEffect) -> str:
    return f"{effect.int16_gain.db:+.1f}" if effect.int16_gain else ""


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width, 1) - 1]}…"


def _row(effect: OpEffect, is_scored: bool) -> tuple[str, ...]:
    gain = effect.gain
    ops = f"{', '.join(effect.types)} {_short(effect.tensor)}".strip()
    sqnr = (_decibels(effect.sqnr_db), _decibels(effect.alone_db))
    if gain is None:
        return (effect.group.name, ops, *sqnr, *[""] * (4 if is_scored else 3))
    readers = f", {_numbers(effect.readers)}" if gain.way == "with_readers" else ""
    metric = [f"{gain.metric:+.4f}"] if is_scored and gain.metric is not None else [""] * is_scored
    return (
        effect.group.name + readers,
        ops,
        *sqnr,
        f"{gain.db:+.1f}",
        *metric,
        f"{gain.more_bytes:+,}",
        f"{gain.more_float_ops:+d}",
    )


def findings(outcome: SensitivityResult) -> Iterator[str]:
    """Yield the sentences below the table: causes of the best effects, and other options that help."""
    for effect in [effect for effect in outcome.effects[:MAX_CAUSES] if effect.causes and _matters(effect, outcome)]:
        op = f"{effect.group.name} {', '.join(effect.types)} {_short(effect.tensor)}".replace("  ", " ")
        yield f"{op}: {effect.causes[0].said}."
    dead = outcome.base.dead_channels
    for effect in [each for each in outcome.effects if each.gain and each.gain.revived_channels > 0][:MAX_CAUSES]:
        assert effect.gain
        readers = f" and {_numbers(effect.readers)}" if effect.gain.way == "with_readers" else ""
        ops = f"{effect.group.name} {', '.join(effect.types)}".strip()
        yield f"With {ops}{readers} in float, {effect.gain.revived_channels} of {dead} dead channels vary again."
    for result in outcome.remedies:
        gain = outcome.decibels(result.figures) - outcome.decibels(outcome.base) if result.figures else 0.0
        if gain >= NOTICEABLE_DB:
            yield f"With {_changes(outcome, result)}, and no more ops in float, the SQNR changes by {gain:+.1f} dB."
    if outcome.is_spent:
        yield "The limits ended the study before all trials ran. Run it again with wider limits to continue from here."


def _changes(outcome: SensitivityResult, result: TrialResult) -> str:
    """Return the changed options in the words of a recipe."""
    if result.trial.ranges == outcome.trial.ranges:
        keys = ("per_channel", "per_channel_dense")
        return ", ".join(f"{key}: true" for key in keys if not getattr(outcome.trial.variant, key))
    ranges = result.trial.ranges
    return f"ranges: {ranges if isinstance(ranges, str) else f'{{percentile: {ranges.percentile:g}}}'}"


def _matters(effect: OpEffect, outcome: SensitivityResult) -> bool:
    if effect.gain and effect.gain.db >= NOTICEABLE_DB:
        return True
    return effect.alone_db is None or effect.alone_db < outcome.decibels(outcome.base) + 10


def _numbers(ops: tuple[int, ...]) -> str:
    """Return up to two op numbers, or the first one and how many more there are."""
    return ", ".join(f"#{op}" for op in ops) if len(ops) < 3 else f"#{ops[0]} and {len(ops) - 1} more"


def _decibels(value: float | None) -> str:
    if value is None:
        return ""
    return "exact" if value >= EQUAL_DB else f"{value:.1f}"


def _short(name: str) -> str:
    """Return the first name of an op that was fused from several."""
    return name.split(";")[0]
