"""Result → what the terminal shows at the end."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from tflq.report.table import table
from tflq.result import Result

STYLES = {"ok": "green", "failed gate": "yellow", "broken contract": "red", "error": "red"}


def renderables(result: Result) -> Iterator[RenderableType]:
    """Notes, the table, and for each variant that is not ok the reason."""
    for warning in result.warnings:
        yield Text.assemble(("note: ", "yellow"), warning)
    shown = table(result)
    grid = RichTable(title=result.name, title_justify="left")
    for column, name in enumerate(shown.header):
        grid.add_column(name, justify="left" if column in (0, len(shown.header) - 1) else "right", no_wrap=column > 0)
    for row in shown.rows:
        grid.add_row(*row[:-1], Text(row[-1], STYLES.get(row[-1], "")))
    yield grid
    for variant in result.variants:
        if variant.why:
            yield Text.assemble((f"{variant.name}: ", STYLES[variant.status]), variant.why)
