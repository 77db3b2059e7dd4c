"""`tflq evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, print_json
from tflq.cli.options import CommandOptions, ExistingFile, File, pass_options
from tflq.cli.recipes import begin_tensorflow_import, load_recipe
from tflq.cli.running import run_recipe


@click.command()
@click.argument("file", metavar="FILE.tflite", type=ExistingFile)
@click.argument("recipe", type=File)
@option.overriding
@option.no_code
@option.running
@pass_options
def evaluate(options: CommandOptions, file: Path, recipe: Path) -> None:
    """Measure an existing FILE on the data of RECIPE.

    FILE may come from any tool. It is compared with the float model of RECIPE.
    """
    with boundary(options.as_json):
        begin_tensorflow_import()
        outcome = run_recipe(load_recipe(recipe, options), recipe, options, file)
    if options.as_json:
        print_json([outcome])
    sys.exit(outcome.exit_code)
