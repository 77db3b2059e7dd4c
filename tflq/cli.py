"""The commands. Everything that they need is imported when they run, so that `--help` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tflq.errors import TflqError

File = click.Path(path_type=Path)
INTERRUPTED = 130


class _Group(click.Group):
    """Lists commands in the order they are written, which is the order they are met."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@contextmanager
def _boundary(as_json: bool = False) -> Iterator[None]:
    """The one place where errors become a message and an exit code."""
    try:
        yield
    except TflqError as error:
        for line in str(error).splitlines():
            click.echo(f"{click.style('error:', fg='red', bold=True)} {line}", err=True)
        if as_json:
            from tflq.report.machine import failure

            click.echo(failure(error), nl=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted: nothing was changed but the log", err=True)
        sys.exit(INTERRUPTED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tflq")
def main() -> None:
    """Turn a float TensorFlow model into the .tflite files that ship: asked, made, checked, measured.

    \b
    exit code  0  made, checked, all gates passed
               1  made, but a gate failed
               2  the command line or the recipe is wrong
               3  the source cannot be read
               4  the data cannot be read, or cannot calibrate
               5  conversion failed, crashed, timed out or ran out of memory
               6  made, but it breaks its mode's contract
               7  made, but it cannot be run or evaluated
             130  interrupted
    """


_recipes = click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True, type=File)
_set = click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key of the recipe.")
_output = click.option("--output", metavar="DIR", type=File, help="Write there, not where the recipe says.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, and nothing else.")
_verbose = click.option("-v", "--verbose", is_flag=True, help="Show what TensorFlow says.")
_timeout = click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="For one stage.")
_only = click.option("--only", metavar="NAME", multiple=True, help="Make this variant only; may be given again.")


@main.command()
@_recipes
@_set
@_only
@_output
@_json
@_verbose
@_timeout
def convert(...) -> None:
    """Make, check and measure the variants of RECIPEs."""
