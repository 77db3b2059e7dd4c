"""Result → the text and table that the terminal shows at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from tflq.report.table import shortened, table
from tflq.result import Result

STYLES = {"ok": "green", "failed": "yellow", "broken": "red", "error": "red"}


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
    for variant in result.variants:
        if variant.why:
            yield Text.assemble((f"{variant.name}: ", STYLES[variant.status]), variant.why)
        if variant.gain:
            yield Text(f"{variant.name}: {variant.gain.in_words}")


def _rich_table(result: Result, width: int | None) -> RichTable:
    cells = table(result, is_narrow=True)
    padding = (0, GAP, 0, 0)
    widths = [max(cell_len(cell) for cell in column) for column in zip(cells.header, *cells.rows, strict=True)]
    others = sum(GAP + each for each in widths[1:])
    name_width = widths[0] if width is None else min(widths[0], max(MIN_NAME_WIDTH, width - others))
    rich_table = RichTable(title=Text(result.name), title_justify="left", box=None, pad_edge=False, padding=padding)
    if width is not None and name_width + others > width:
        rich_table.width = name_width + others  # the terminal wraps what is too wide
    for i, name in enumerate(cells.header):
        justify: Literal["left", "right"] = "right" if 0 < i < len(cells.header) - 1 else "left"
        rich_table.add_column(name, justify=justify, no_wrap=True)
    for name, *row, verdict in cells.rows:
        rich_table.add_row(Text(shortened(name, name_width)), *row, Text(verdict, STYLES.get(verdict, "")))
    return rich_table
