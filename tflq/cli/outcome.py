"""The display of a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tflq.cli.boundary import note

if TYPE_CHECKING:
    from tflq.recipe import Recipe
    from tflq.result import Result

UNLIMITED = 100_000
"""The width in columns of what is not printed on a terminal."""


def show(result: Result, recipe: Recipe, file: Path | None) -> None:
    """Print the table of the result, and the path of the report unless one file was evaluated.

    What took longest goes to standard error. Elsewhere than on a terminal, no line is cut or wrapped.
    """
    from rich.console import Console

    from tflq.report.slowest import slowest
    from tflq.report.terminal import renderables

    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED)
    for renderable in renderables(result, console.width if console.is_terminal else None):
        console.print(renderable, crop=False)
    if file is None:
        console.print(f"report: {recipe.output / 'report.md'}", highlight=False, soft_wrap=True)
    if why := slowest(result.run, recipe):
        note(why)
