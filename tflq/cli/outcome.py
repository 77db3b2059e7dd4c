"""The display of a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tflq.recipe import Recipe
    from tflq.result import Result


def show(result: Result, recipe: Recipe, file: Path | None) -> None:
    """Print the table of the result, and the path of the report unless one file was evaluated."""
    from rich.console import Console

    from tflq.report.terminal import renderables

    console = Console()
    for renderable in renderables(result):
        console.print(renderable)
    if file is None:
        console.print(f"report: {recipe.output / 'report.md'}", highlight=False, soft_wrap=True)
