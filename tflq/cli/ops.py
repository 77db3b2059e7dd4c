"""`tflq ops`."""

from __future__ import annotations

from pathlib import Path

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, say
from tflq.cli.options import CommandOptions, File, pass_options
from tflq.cli.recipes import load_recipe
from tflq.cli.running import display_for


@click.command()
@click.argument("recipe", type=File)
@option.overriding
@option.running
@pass_options
def ops(options: CommandOptions, recipe: Path) -> None:
    """List the ops that keep_float and keep_int16 can name.

    Each line is one op of the float32 .tflite: its number, its type, its output shape, the bytes of its parameters,
    its layers or scopes, and the names of its outputs. The command writes to the cache only.
    """
    from tflq.cache import default_store
    from tflq.float_graph import float_graph
    from tflq.pipeline import Settings
    from tflq.report import ops as report

    with boundary(options.as_json, recipe, options.overrides):
        loaded = load_recipe(recipe, options)
        with display_for(options) as display:
            graph = float_graph(loaded, Settings(timeout=options.timeout, listen=display, store=default_store()))
    if options.as_json:
        click.echo(report.to_json(graph))
    else:
        say(report.to_text(graph))
