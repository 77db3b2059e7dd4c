"""`tflq convert`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, print_json
from tflq.cli.options import CommandOptions, File, pass_options
from tflq.cli.outcome import open_pages
from tflq.cli.recipes import begin_tensorflow_import, load_recipes, refuse_shared_outputs, with_options
from tflq.cli.running import run_recipe
from tflq.errors import TflqError


@click.command()
@click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True, type=File)
@option.overriding
@option.no_code
@option.only
@option.outputs
@option.running
@option.verify_reproducible
@option.open_page
@pass_options
def convert(options: CommandOptions, recipes: tuple[Path, ...]) -> None:
    """Convert, check and measure the variants of each RECIPE.

    The files, report.html, report.md and report.json are written into the output folder of RECIPE. The default is
    build/NAME beside RECIPE. If a variant or a recipe fails, the others are still converted.
    """
    with boundary(options.as_json):
        begin_tensorflow_import()
        loaded = [with_options(recipe, options, len(recipes)) for recipe in load_recipes(recipes, options)]
        refuse_shared_outputs(recipes, loaded)
        outcomes = [run_recipe(recipe, path, options, None) for path, recipe in zip(recipes, loaded, strict=True)]
        if options.opens_page:
            open_pages(
                [recipe for recipe, outcome in zip(loaded, outcomes, strict=True) if not isinstance(outcome, TflqError)]
            )
    if options.as_json:
        print_json(outcomes)
    sys.exit(max(outcome.exit_code for outcome in outcomes))
