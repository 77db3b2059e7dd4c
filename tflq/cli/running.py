"""Runs a recipe for a command, displays the progress and shows the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tflq.cli.boundary import complain
from tflq.cli.options import CommandOptions
from tflq.cli.outcome import show
from tflq.errors import TflqError

if TYPE_CHECKING:
    from tflq.cli.display import ProgressDisplay
    from tflq.cli.time_left import EarlierRun
    from tflq.recipe import Recipe
    from tflq.result import Result


def run_recipe(recipe: Recipe, path: Path, options: CommandOptions, file: Path | None) -> Result | TflqError:
    """Run the recipe, which was read from that path, then print its result or its error and return it.

    If `file` is given, only that .tflite is measured, and nothing is converted.
    """
    from tflq.cache import default_store
    from tflq.cli.time_left import earlier_run
    from tflq.pipeline import Settings, log_of, run
    from tflq.recipe import place_of

    options.log = log_of(recipe, file)
    try:
        with display_for(options, earlier_run(recipe)) as display:
            settings = Settings(
                timeout=options.timeout,
                listen=display,
                watch=display.watch,
                store=default_store(),
                verifies_reproducible=options.verifies_reproducible,
            )
            result = run(recipe, settings, file)
    except TflqError as error:
        complain(error, f"{place_of(error, path, options.overrides) or recipe.name}: ")
        return error
    if not options.as_json:
        show(with_places(result, path, options.overrides), recipe, file)
    return result


def with_places(result: Result, path: Path, overrides: Sequence[str]) -> Result:
    """Return the result, in which the errors of variants start with the file and the line of the key."""
    from tflq.recipe import place_of

    variants = []
    for variant in result.variants:
        error = variant.error
        place = place_of(error, path, overrides, variant.name) if error else ""
        variants.append(replace(variant, error=type(error)(f"{place}: {error}")) if error and place else variant)
    return replace(result, variants=tuple(variants))


def display_for(options: CommandOptions, earlier: EarlierRun | None = None) -> ProgressDisplay:
    """Return the display of progress, which writes to standard error."""
    from rich.console import Console

    from tflq.cli.display import ProgressDisplay

    return ProgressDisplay(Console(stderr=True), options.verbose, is_silent=options.as_json, earlier=earlier)
