"""`tflq advise`."""

from __future__ import annotations

from pathlib import Path

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, note
from tflq.cli.options import CommandOptions, File, pass_options
from tflq.cli.recipes import load_recipe


@click.command()
@click.argument("recipe", type=File)
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
@option.overriding
@option.measured
@pass_options
def advise(options: CommandOptions, recipe: Path, target: str, tolerate: float | None) -> None:
    """Recommend one variant of RECIPE, based on its report.

    The command prints three lines: the variant to ship, the reason, and whether training is worthwhile. Run
    `tflq convert` first, because the report holds the measurements.
    """
    from tflq import advise as advising

    with boundary():
        loaded = load_recipe(recipe, options)
        measured = advising.read(loaded)
        gate = loaded.gates.max_metric_drop
        tolerated = next(drop for drop in (tolerate, gate, advising.TOLERATED) if drop is not None)
        advice = advising.advise(loaded, measured, target, tolerated)
    if measured.is_stale:
        note(f"{recipe}: the recipe differs from the one in the report; run tflq convert again to update the report")
    for label, text in (("ship", advice.recommended), ("why", advice.reason), ("training", advice.training)):
        click.echo(f"{label + ':':<10}{text}")
