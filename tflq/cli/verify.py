"""`tflq verify`: are the files of an output folder still those that were made?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, note, say
from tflq.cli.options import CommandOptions, File, pass_options
from tflq.cli.recipes import load_recipe
from tflq.cli.running import display_for

if TYPE_CHECKING:
    from tflq.lock import Difference, Lock
    from tflq.recipe import Recipe


@click.command()
@click.argument("recipe", type=File)
@click.option("--measure", is_flag=True, help="Also measure each file again, and compare its metric and SQNR.")
@option.overriding
@option.no_code
@option.output
@option.running
@pass_options
def verify(options: CommandOptions, recipe: Path, measure: bool) -> None:
    """Check that the files of RECIPE have not changed.

    `tflq convert` writes tflq.lock into the output folder, beside the files. It has the digests of the files, the
    recipe, the model and the data, and the figures of each file. This command compares them with what is there now. It
    makes no file. The exit code is 1 if something differs; else it is the exit code of the run that made the files.
    """
    from tflq import lock

    with boundary(options.as_json, recipe, options.overrides):
        loaded = load_recipe(recipe, options)
        loaded.model.check()
        locked = lock.read(loaded.output)
        found = list(lock.differences(loaded, locked))
        if measure:
            found += _measured(loaded, locked, options)
    differs = [difference for difference in found if difference.is_certain]
    code = max([1] if differs else [], default=max((file.exit_code for file in locked.files.values()), default=0))
    if options.as_json:
        click.echo(json.dumps({"differences": [asdict(each) for each in found], "exit_code": code}, indent=2))
    else:
        _show(found, len(locked.files), loaded.output / lock.LOCK)
    sys.exit(code)


def _measured(recipe: Recipe, locked: Lock, options: CommandOptions) -> Iterator[Difference]:
    """Measure each file that is there, and yield the figures that are not as they were."""
    from tflq.cache import default_store
    from tflq.lock import figure_differences
    from tflq.pipeline import Settings, run

    for name, file in locked.files.items():
        path = recipe.output / name
        if path.is_file():
            with display_for(options) as display:
                settings = Settings(options.timeout, listen=display, watch=display.watch, store=default_store())
                (variant,) = run(recipe, settings, path).variants
            yield from figure_differences(str(path), file, variant)


def _show(found: list[Difference], files: int, path: Path) -> None:
    for difference in found:
        text = f"{difference.where}: {difference.message}"
        if difference.is_certain:
            say(text)
        else:
            note(text)
    count = sum(difference.is_certain for difference in found)
    what = f"{files} file{'s' * (files != 1)} and what they rest on are as {path} says"
    say(f"{count} difference{'s' * (count != 1)} from {path}" if count else what)
