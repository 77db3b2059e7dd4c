"""`tflq advise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, note
from tflq.cli.options import CommandOptions, File, pass_options
from tflq.cli.recipes import load_one

if TYPE_CHECKING:
    from tflq.advise import Target


@click.command()
@click.argument("recipe", type=File)
@click.option("--target", type=click.Choice(["cpu", "gpu", "integer"]), default="cpu", help="Where it is to run.")
@click.option("--tolerate", metavar="DROP", type=float, help="Of the metric; by default the recipe's gate, or 0.01.")
@option.overriding
@option.measured
@pass_options
def advise(options: CommandOptions, recipe: Path, target: Target, tolerate: float | None) -> None:
    """Recommend one variant of RECIPE, by what was measured.

    In three lines: which, why, and whether training is worth it. `tflq convert` must have run before.
    """
    from tflq import advise as advising

    with boundary():
        loaded = load_one(recipe, options)
        measured = advising.read(loaded)
        gate = loaded.gates.max_metric_drop
        tolerated = next(drop for drop in (tolerate, gate, advising.TOLERATED) if drop is not None)
        advice = advising.advise(loaded, measured, target, tolerated)
    if measured.is_stale:
        note(f"{recipe}: was changed since it was measured, or run with other options")
    for name, said in (("ship", advice.recommended), ("why", advice.reason), ("training", advice.training)):
        click.echo(f"{name + ':':<10}{said}")
