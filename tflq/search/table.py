"""Outcome → the rows of one table: the Pareto front, the best plain trials, and what was found."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from tflq.report.table import size
from tflq.search.search_result import SearchResult
from tflq.search.space import kept_by_search
from tflq.trials import Measurements, TrialResult, meets_all

SHOWN = 16


@dataclass(frozen=True)
class SearchRow:
    cells: tuple[str, ...]
    meets: bool
    is_found: bool


def rich_table(outcome: SearchResult) -> Table:
    """The table, as a terminal shows it."""
    shown = Table(title=outcome.name, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    first, *others = header(outcome)
    shown.add_column(first, no_wrap=True)
    for name in others:
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows(outcome):
        style = "bold green" if row.is_found else "" if row.meets else "dim"
        shown.add_row(*(Text(cell, style) for cell in row.cells))
    return shown


def header(outcome: SearchResult) -> tuple[str, ...]:
    metric = (outcome.metric, "drop ±95 %") if outcome.metric else ()
    return ("", "in float", "size", *metric, "SQNR dB", *([] if outcome.metric else ["agree"]), "")


def rows(outcome: SearchResult) -> list[SearchRow]:
    """What the recipe asks for, the front, and what was found, by size; the deciding samples' figures."""
    found = outcome.found.selection if outcome.found else None
    plain = [one for one in outcome.tried if one.trial == outcome.space.recipe_trial(one.trial)]
    thinned = outcome.front[:: -(-len(outcome.front) // SHOWN) or 1]
    chosen = {id(one): one for one in (*plain, *thinned, *([found] if found else [])) if one.figures}
    measured = [(one, one.figures) for one in chosen.values() if one.figures]
    return [_row(outcome, *pair) for pair in sorted(measured, key=lambda pair: pair[1].file.size_bytes)]


def _row(outcome: SearchResult, tried: TrialResult, figures: Measurements) -> SearchRow:
    meets = meets_all(outcome.constraints, tried)
    is_found = outcome.found is not None and tried is outcome.found.selection
    verdict = "found" if is_found else "meets" if meets else "fails"
    kept = len(kept_by_search(tried.trial, outcome.space.recipe_trial(tried.trial)))
    cells = (
        tried.trial.in_words,
        str(kept or ""),
        size(figures.file.size_bytes),
        *_accuracy(figures),
        f"{min(near.sqnr_db.value for near in figures.outputs.values()):.1f}",
        *([] if outcome.metric else [_agreement(figures)]),
        verdict,
    )
    return SearchRow(cells, meets, is_found)


def _accuracy(figures: Measurements) -> tuple[str, ...]:
    if figures.drop is None:
        return ()
    drop = figures.drop
    return f"{figures.metric:.4f}", f"{drop.value:+.4f} ±{(drop.high - drop.low) / 2:.4f}"


def _agreement(figures: Measurements) -> str:
    return min((f"{near.agreement.value:.4f}" for near in figures.outputs.values() if near.agreement), default="")
