"""SearchResult → the rows of one table: the recipe's trials, the Pareto front, refuted trials and the found trial."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from tflq.report.table import shortened, size
from tflq.report.terminal import fit
from tflq.search.candidate import Candidate
from tflq.search.search_result import SearchResult
from tflq.search.space import OP_KEYS, named_by_search
from tflq.trials import Measurements, TrialResult, meets_all, worst

MAX_FRONT_ROWS = 16
"""The largest number of rows from the Pareto front."""


@dataclass(frozen=True)
class SearchRow:
    """The cells of one trial, and how it stands out."""

    cells: tuple[str, ...]
    meets: bool
    is_found: bool


def rich_table(outcome: SearchResult, width: int) -> Table:
    """Return the table for a terminal of that width in columns. Long names of trials are shortened."""
    grid = Table(title=outcome.name, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    first, *others = header(outcome)
    grid.add_column(first, no_wrap=True)
    for name in others:
        grid.add_column(name, justify="right", no_wrap=True)
    shown = rows(outcome)
    name_width = fit(grid, [(first, *others), *(row.cells for row in shown)], width)
    for row in shown:
        style = "bold green" if row.is_found else "" if row.meets else "dim"
        name, *figures = row.cells
        grid.add_row(*(Text(cell, style) for cell in (shortened(name, name_width), *figures)))
    return grid


def header(outcome: SearchResult) -> tuple[str, ...]:
    """Return the names of the columns."""
    metric = (outcome.metric, "drop ±95 %") if outcome.metric else ()
    named = ("in float", "16 bits") if "keep_int16" in outcome.space.allowed else ("in float",)
    return ("", *named, "size", *metric, "SQNR dB", *([] if outcome.metric else ["agree"]), "")


def rows(outcome: SearchResult) -> list[SearchRow]:
    """Return the rows, sorted by size, with the measurements on the selection samples."""
    found = outcome.found.selection if outcome.found else None
    plain = [result for result in outcome.results if result.trial == outcome.space.recipe_trial(result.trial)]
    thinned = outcome.front[:: -(-len(outcome.front) // MAX_FRONT_ROWS) or 1]
    refuted = [candidate.selection for candidate in outcome.refuted]
    named = (*plain, *thinned, *refuted, *([found] if found else []))
    chosen = {id(result): result for result in named if result.figures}
    measured = [(result, result.figures) for result in chosen.values() if result.figures]
    return [_row(outcome, *pair) for pair in sorted(measured, key=lambda pair: pair[1].file.size_bytes)]


def _row(outcome: SearchResult, result: TrialResult, figures: Measurements) -> SearchRow:
    is_found = outcome.found is not None and result is outcome.found.selection
    refuted = next((candidate for candidate in outcome.refuted if result is candidate.selection), None)
    meets = meets_all(outcome.constraints, result) and refuted is None
    verdict = "found" if is_found else _refuted(outcome, refuted) if refuted else "meets" if meets else "fails"
    recipe_trial = outcome.space.recipe_trial(result.trial)
    keys = OP_KEYS if "keep_int16" in outcome.space.allowed else OP_KEYS[:1]
    cells = (
        result.trial.in_words,
        *(str(len(named_by_search(result.trial, recipe_trial, key)) or "") for key in keys),
        size(figures.file.size_bytes),
        *_accuracy(figures),
        f"{min(near.sqnr_db.value for near in figures.outputs.values()):.1f}",
        *([] if outcome.metric else [_agreement(figures)]),
        verdict,
    )
    return SearchRow(cells, meets, is_found)


def _refuted(outcome: SearchResult, candidate: Candidate) -> str:
    """Return the verdict with the value on the confirmation samples."""
    figures = candidate.confirmation.figures
    if figures is None or figures.fault:
        return "refuted"
    return f"refuted: {worst(outcome.constraints, figures).in_words(figures)}"


def _accuracy(figures: Measurements) -> tuple[str, ...]:
    if figures.drop is None:
        return ()
    drop = figures.drop
    return f"{figures.metric:.4f}", f"{drop.value:+.4f} ±{(drop.high - drop.low) / 2:.4f}"


def _agreement(figures: Measurements) -> str:
    return min((f"{near.agreement.value:.4f}" for near in figures.outputs.values() if near.agreement), default="")
