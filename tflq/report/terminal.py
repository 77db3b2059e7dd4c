"""Result → the text and table that the terminal shows at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from tflq.report.problems import by_message
from tflq.report.table import shortened, table
from tflq.result import Result, Variant

STYLES = {"ok": "green", "poor": "yellow", "failed": "yellow", "broken": "red", "error": "red"}


MIN_NAME_WIDTH = 8
GAP = 2
"""The columns between two cells."""


def renderables(result: Result, width: int | None) -> Iterator[RenderableType]:
    """Yield the notes, the table, and the reason for each variant that is not ok.

    `width` is that of the terminal in columns. If the table is wider, long names of variants are shortened, but no
    other cell is. None means that nothing is shortened.
    """
    for warning in result.warnings:
        yield Text.assemble(("note: ", "yellow"), warning)
    yield _rich_table(result, width)
    every = ((variant.name, message) for variant in result.variants for message in _messages(variant))
    for names, (style, text) in by_message(every):
        yield Text.assemble((f"{names}: ", style), text)


def _messages(variant: Variant) -> Iterator[tuple[str, str]]:
    """Yield a style and a text for each thing that the user should know of the variant."""
    if variant.why and variant.status != "poor":  # a finding says it, with its cause
        yield STYLES[variant.status], variant.why
    for finding in variant.findings:
        yield "yellow", f"{finding.in_words}."
    if variant.gain:
        yield "", variant.gain.in_words
    for verdict in variant.targets:
        yield "", f"on {verdict.target}: {verdict.in_words}"


def _rich_table(result: Result, width: int | None) -> RichTable:
    cells = table(result, is_narrow=True)
    padding = (0, GAP, 0, 0)
    rich_table = RichTable(title=Text(result.name), title_justify="left", box=None, pad_edge=False, padding=padding)
    name_width = fit(rich_table, [cells.header, *cells.rows], width)
    for i, name in enumerate(cells.header):
        justify: Literal["left", "right"] = "right" if 0 < i < len(cells.header) - 1 else "left"
        rich_table.add_column(name, justify=justify, no_wrap=True)
    for name, *row, verdict in cells.rows:
        rich_table.add_row(Text(shortened(name, name_width)), *row, Text(verdict, STYLES.get(verdict, "")))
    return rich_table


def fit(rich_table: RichTable, rows: Sequence[Sequence[str]], width: int | None) -> int:
    """Return how wide the first column may be, so that all others are whole; the gaps between columns are GAP wide.

    If the terminal is too narrow for the others, set the width of the table. The terminal then wraps its lines.
    """
    first, *others = (max(map(cell_len, column)) for column in zip(*rows, strict=True))
    if width is None:
        return first
    rest = sum(GAP + each for each in others)
    name_width = min(first, max(MIN_NAME_WIDTH, width - rest))
    if name_width + rest > width:
        rich_table.width = name_width + rest
    return name_width
