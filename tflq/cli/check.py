"""`tflq check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, complain, note, say
from tflq.cli.options import CommandOptions, File, pass_options
from tflq.cli.recipes import load_recipes, refuse_shared_outputs
from tflq.errors import TflqError

if TYPE_CHECKING:
    from tflq.recipe import Recipe


@click.command()
@click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True, type=File)
@option.overriding
@option.no_code
@pass_options
def check(options: CommandOptions, recipes: tuple[Path, ...]) -> None:
    """Check each RECIPE for errors, without running it.

    The check takes a moment. It does not import TensorFlow, and it does not read the data.
    """
    with boundary():
        loaded = load_recipes(recipes, options)
        refuse_shared_outputs(recipes, loaded)
    sys.exit(max(_check(path, recipe, options) for path, recipe in zip(recipes, loaded, strict=True)))


def _check(path: Path, recipe: Recipe, options: CommandOptions) -> int:
    """Print the errors and notes of the recipe, and return the exit code."""
    from tflq.recipe import check_source, place_of
    from tflq.recipe_warnings import warnings

    try:
        check_source(recipe)
    except TflqError as error:
        complain(error, f"{place_of(error, path, options.overrides) or path}: ")
        return error.exit_code
    for warning in warnings(recipe):
        note(f"{path}: {warning}")
    names = ", ".join(variant.name for variant in recipe.variants)
    say(f"{path}: ok: {recipe.model.path} to {names} in {recipe.output}")
    return 0
