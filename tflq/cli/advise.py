"""`tflq advise`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, note
from tflq.cli.options import CommandOptions, File, pass_options
from tflq.cli.recipes import load_recipe
from tflq.cli.trials import print_all, unlimited_console

if TYPE_CHECKING:
    from tflq.advise import Advice, ModeRow

GAP = 2
"""The columns between two cells of the table of modes."""


@click.command()
@click.argument("recipe", type=File, required=False)
@click.option(
    "--target",
    metavar="NAME",
    default="cpu",
    help="What runs the file: cpu (the default), gpu, integer, or one of the targets of RECIPE.",
)
@click.option(
    "--tolerate",
    metavar="DROP",
    type=float,
    help="The drop of the metric that is acceptable. The default is gates.max_metric_drop of RECIPE, or 0.01.",
)
@click.option("--modes", is_flag=True, help="Print a table of all modes: size, accuracy, speed, hardware.")
@option.json
@option.overriding
@option.measured
@pass_options
def advise(options: CommandOptions, recipe: Path | None, target: str, tolerate: float | None, modes: bool) -> None:
    """Recommend one variant of RECIPE, based on its report.

    The command prints three lines: the variant to ship, the reason, and whether training is worthwhile. Run
    `tflq convert` first, because the report holds the measurements.

    With --modes, a table says what to expect of each mode. It has the figures of the report, too, if RECIPE is given.
    """
    from tflq import advise as advising

    if recipe is None:
        if not modes:
            raise click.UsageError("give a RECIPE, or --modes for the table of all modes")
        _print(None, advising.mode_rows(), options.as_json)
        return
    with boundary(options.as_json):
        loaded = load_recipe(recipe, options)
        measured = advising.read(loaded)
        gate = loaded.gates.max_metric_drop
        tolerated = next(drop for drop in (tolerate, gate, advising.TOLERATED) if drop is not None)
        advice = advising.advise(loaded, measured, target, tolerated, f"tflq search {shlex.quote(str(recipe))}")
    if measured.is_stale:
        note(f"{recipe}: the recipe differs from the one in the report; run tflq convert again to update the report")
    shows_modes = modes or options.as_json
    _print(advice, advising.mode_rows(measured.variants) if shows_modes else (), options.as_json)


def _print(advice: Advice | None, rows: Sequence[ModeRow], as_json: bool) -> None:
    """Print the advice and the table of modes, or both as JSON."""
    if as_json:
        said = asdict(advice) if advice else {}
        click.echo(json.dumps(said | {"modes": [row.to_dict() for row in rows]}, indent=2, ensure_ascii=False))
        return
    if advice:
        for label, text in (("ship", advice.recommended), ("why", advice.reason), ("training", advice.training)):
            click.echo(f"{label + ':':<10}{text}")
    if rows:
        _print_table(rows)


def _print_table(rows: Sequence[ModeRow]) -> None:
    from rich.table import Table

    from tflq.modes import GUIDE_COLUMNS

    console = unlimited_console()
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    measured = [("measured", *("\n".join(row.measured) for row in rows))] if any(row.measured for row in rows) else []
    columns = [*zip(GUIDE_COLUMNS, *(row.guide.cells for row in rows), strict=True), *measured]
    for column, width in zip(columns, _widths(columns, console.width), strict=True):
        table.add_column(column[0], width=width)
    for cells in zip(*(column[1:] for column in columns), strict=True):
        table.add_row(*cells)
    print_all(console, table)


def _widths(columns: Sequence[Sequence[str]], total: int) -> list[int]:
    """Return the width of each column of a table, so that lines are wrapped, but no word is cut."""
    words = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    lines = [max(len(line) for cell in column for line in cell.splitlines()) for column in columns]
    spare = total - sum(words) - GAP * (len(columns) - 1)
    share = min(max(spare / max(sum(lines) - sum(words), 1), 0), 1)
    return [word + int((line - word) * share) for word, line in zip(words, lines, strict=True)]
