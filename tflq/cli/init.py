"""`tflq init`."""

from __future__ import annotations

from pathlib import Path

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary
from tflq.cli.options import CommandOptions, File, WrittenFile, pass_options
from tflq.cli.running import display_for
from tflq.errors import RecipeError


@click.command()
@click.argument("model", type=File)
@click.option("-o", "target", metavar="FILE", type=WrittenFile, help="Write to FILE instead of standard output.")
@option.verbose
@pass_options
def init(options: CommandOptions, model: Path, target: Path | None) -> None:
    """Write a commented recipe for MODEL.

    MODEL is a SavedModel folder, or a .keras, .h5 or float .tflite file. The recipe follows the signature of MODEL, and
    leaves out the modes that its ops do not allow. You can run it unchanged, because its data are random numbers.
    """
    from tflq import cache, recipe_template
    from tflq.pipeline import Settings

    target = None if target == Path("-") else target
    with boundary():
        if target is not None:
            _refuse_overwriting(target)
        with display_for(options) as display:
            settings = Settings(listen=display, store=cache.default_store())
            text = recipe_template.recipe_for(model, target.parent if target else Path(), settings)
    if target is None:
        click.echo(text, nl=False)
    else:
        cache.write(target, text)
        click.echo(f"{target}: the recipe was written; try it with: tflq convert {target}")


def _refuse_overwriting(target: Path) -> None:
    if target.exists():
        raise RecipeError(f"{target}: the file exists already; remove it or choose another name")
    if not target.parent.is_dir():
        raise RecipeError(f"{target}: the folder {target.parent} does not exist; create it or choose another folder")
