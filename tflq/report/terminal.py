"""Result → the text and table that the terminal shows at the end."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from tflq.report.table import table
from tflq.result import Result

STYLES = {"ok": "green", "failed": "yellow", "broken": "red", "error": "red"}


def renderables(result: Result) -> Iterator[RenderableType]:
    """Yield the notes, the table, and the reason for each variant that is not ok."""
    for warning in result.warnings:
        yield Text.assemble(("note: ", "yellow"), warning)
    yield _rich_table(result)
    for variant in result.variants:
        if variant.why:
            yield Text.assemble((f"{variant.name}: ", STYLES[variant.status]), variant.why)
        if variant.gain:
            yield Text(f"{variant.name}: {variant.gain.in_words}")


def _rich_table(result: Result) -> RichTable:
    cells = table(result, is_narrow=True)
    rich_table = RichTable(title=result.name, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    rich_table.add_column("", no_wrap=True)
    for name in cells.header[1:-1]:
        rich_table.add_column(name, justify="right", no_wrap=True)
    rich_table.add_column(cells.header[-1])
    for row in cells.rows:
        rich_table.add_row(*row[:-1], Text(row[-1], STYLES.get(row[-1], "")))
    return rich_table
