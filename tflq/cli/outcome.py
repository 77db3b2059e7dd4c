"""The display of a result."""

from __future__ import annotations

from collections.abc import Sequence
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

    from tflq.pipeline import PAGE
    from tflq.report.slowest import slowest
    from tflq.report.terminal import renderables

    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED)
    for renderable in renderables(result, console.width if console.is_terminal else None):
        console.print(renderable, crop=False)
    if file is None:
        console.print(f"report: {recipe.output / PAGE}", highlight=False, soft_wrap=True)
    if why := slowest(result.run, recipe):
        note(why)


def open_pages(recipes: Sequence[Recipe]) -> None:
    """Open the pages of these recipes in the browser, or say that there is none."""
    import webbrowser

    from tflq.pipeline import PAGE

    for recipe in recipes:
        page = (recipe.output / PAGE).absolute()
        if not webbrowser.open(page.as_uri()):
            note(f"there is no browser to open {page}")
