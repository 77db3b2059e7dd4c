"""What commands show of what they did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tflq.recipe import Recipe
    from tflq.result import Result


def show(result: Result, recipe: Recipe, file: Path | None) -> None:
    """The table, and where the report is."""
    from rich.console import Console

    from tflq.report.terminal import renderables

    console = Console()
    for renderable in renderables(result):
        console.print(renderable)
    if file is None:
        console.print(f"report: {recipe.output / 'report.md'}", highlight=False, soft_wrap=True)
