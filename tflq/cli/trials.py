"""What `tflq search` and `tflq sensitivity` have in common: how trials and their outcome are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tflq.cli.boundary import note
from tflq.cli.options import CommandOptions
from tflq.cli.running import display_for

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tflq.recipe import Recipe
    from tflq.worker import Listener

WIDE = 160
"""Columns of a table that goes to a file."""


@contextmanager
def display_of_trials(options: CommandOptions) -> Iterator[Listener]:
    """The display of progress; if standard error is no terminal, it leaves out single trials."""
    from tflq.trials import is_trial

    with display_for(options) as shown:
        yield shown if shown.console.is_terminal else lambda event: None if is_trial(event) else shown(event)


def console_of_outcome(recipe: Recipe) -> Console:
    """The console on which an outcome is shown, after the warnings of its recipe were told."""
    from rich.console import Console

    from tflq.recipe import warnings

    for warning in warnings(recipe):
        note(warning)
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def show_parts(console: Console, *parts: str | Table) -> None:
    """Print each text on a line of its own, however long, and each table in the width of the console."""
    for part in parts:
        if isinstance(part, str):
            console.print(part, highlight=False, markup=False, soft_wrap=True)
        else:
            console.print(part)
