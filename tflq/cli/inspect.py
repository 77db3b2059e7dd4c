"""`tflq inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, say
from tflq.cli.options import CommandOptions, ExistingFile, pass_options


@click.command()
@click.argument("file", metavar="FILE.tflite", type=ExistingFile)
@option.json
@pass_options
def inspect(options: CommandOptions, file: Path) -> None:
    """Show the contents of a FILE.

    The command lists the ops with their data types, the inputs and outputs with their scales, and the sizes.
    """
    from tflq import flatbuffer
    from tflq.report import inspect as report

    with boundary(options.as_json):
        graph = flatbuffer.load(file)
    if options.as_json:
        click.echo(report.to_json(graph))
    else:
        say(report.to_text(graph))
