"""A recipe is run for a command, its progress displayed and its result shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tflq.cli.boundary import complain
from tflq.cli.options import CommandOptions
from tflq.cli.outcome import show
from tflq.errors import TflqError

if TYPE_CHECKING:
    from tflq.cli.display import ProgressDisplay
    from tflq.recipe import Recipe
    from tflq.result import Result


def run_recipe(recipe: Recipe, options: CommandOptions, file: Path | None) -> Result | TflqError:
    """The result, which was shown, or the error, which was told; `file`: measure that one and make none."""
    from tflq.cache import default_store
    from tflq.pipeline import LOG, Settings, run

    options.log = recipe.output / LOG
    try:
        with display_for(options) as display:
            settings = Settings(
                timeout=options.timeout,
                listen=display,
                store=default_store(),
                verifies_reproducible=options.verifies_reproducible,
            )
            result = run(recipe, settings, file)
    except TflqError as error:
        complain(error, f"{recipe.name}: ")
        return error
    if not options.as_json:
        show(result, recipe, file)
    return result


def display_for(options: CommandOptions) -> ProgressDisplay:
    """The display of progress on standard error."""
    from rich.console import Console

    from tflq.cli.display import ProgressDisplay

    return ProgressDisplay(Console(stderr=True), options.verbose, is_silent=options.as_json)
