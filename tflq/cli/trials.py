"""The display of trials and results, which `tflq search` and `tflq sensitivity` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tflq.cli.boundary import note
from tflq.cli.options import CommandOptions
from tflq.cli.outcome import UNLIMITED
from tflq.cli.running import display_for

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tflq.recipe import Recipe
    from tflq.worker import Listener


@contextmanager
def trial_display(options: CommandOptions) -> Iterator[Listener]:
    """Yield the display of progress. If standard error is no terminal, it leaves out single trials."""
    from tflq.trials import is_trial

    with display_for(options) as display:
        yield display if display.console.is_terminal else lambda event: None if is_trial(event) else display(event)


def result_console(recipe: Recipe) -> Console:
    """Print the warnings of the recipe, and return the console for the result."""
    from tflq.recipe_warnings import warnings

    for warning in warnings(recipe):
        note(warning)
    return unlimited_console()


def unlimited_console() -> Console:
    """Return the console for standard output. It has a width only if it is a terminal."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=UNLIMITED)


def print_all(console: Console, *parts: str | Table) -> None:
    """Print each text on a line of its own, however long, and each table in the width of the console."""
    for part in parts:
        if isinstance(part, str):
            console.print(part, highlight=False, markup=False, soft_wrap=True)
        else:
            console.print(part, crop=False)
