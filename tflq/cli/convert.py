"""`tflq convert`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, print_json
from tflq.cli.options import CommandOptions, File, pass_options
from tflq.cli.recipes import adjusted, load_all, refuse_shared_outputs
from tflq.cli.running import run_recipe


@click.command()
@click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True, type=File)
@option.overriding
@option.only
@option.outputs
@option.running
@option.verify_reproducible
@pass_options
def convert(options: CommandOptions, recipes: tuple[Path, ...]) -> None:
    """Make, check and measure the variants of each RECIPE.

    The files, report.md and report.json are written into the output folder that RECIPE names, by default build/NAME
    beside it. A variant that fails, or a recipe, does not keep the others from being made.
    """
    with boundary(options.as_json):
        loaded = [adjusted(recipe, options, len(recipes)) for recipe in load_all(recipes, options.overrides)]
        refuse_shared_outputs(recipes, loaded)
        outcomes = [run_recipe(recipe, options, None) for recipe in loaded]
    if options.as_json:
        print_json(outcomes)
    sys.exit(max(outcome.exit_code for outcome in outcomes))
