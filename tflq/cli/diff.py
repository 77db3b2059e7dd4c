"""`tflq diff`: what differs between two files or two output folders."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary, note
from tflq.cli.options import CommandOptions, File, PathType, WrittenFile, option_of, pass_options, pass_options_of
from tflq.cli.recipes import load_recipe
from tflq.cli.running import display_for
from tflq.errors import printable

if TYPE_CHECKING:
    from tflq.diff import DiffResult

Existing = PathType(exists=True, path_type=Path)


@dataclass
class DiffOptions:
    """The options of the comparison itself."""

    recipe: Path | None = None
    gate: tuple[str, ...] = ()
    markdown: Path | None = None
    html: Path | None = None


_option = partial(option_of, DiffOptions)


@click.command()
@click.argument("a", type=Existing)
@click.argument("b", type=Existing)
@_option("--recipe", metavar="RECIPE", type=File, help="Compare outputs and metric on the evaluation data of RECIPE.")
@_option(
    "--gate",
    metavar="NAME=LIMIT",
    help="Fail with exit code 1 if B exceeds this limit, such as max_size_ratio=1.01. The names are those of gates in"
    " recipes, and max_changed_ops, max_changed_constants, max_changed_scales and max_new_float_ops. A takes the"
    " place of the float32 file. May be repeated.",
)
@_option("--markdown", metavar="FILE", type=WrittenFile, help="Also write the Markdown into FILE.")
@_option(
    "--html", metavar="FILE", type=WrittenFile, help="Also write the report into FILE, as one page without scripts."
)
@option.overriding
@option.no_code
@option.running
@pass_options
@pass_options_of(DiffOptions)
def diff(diff_options: DiffOptions, options: CommandOptions, a: Path, b: Path) -> None:
    """Show what differs between A and B.

    A and B are two .tflite files, or two output folders of `tflq convert`, whose variants are compared by name. The
    first line is the verdict. Tables follow of only what differs: inputs and outputs, ops, bytes by op, scales, zero
    points and constants. The report is Markdown, for a terminal or a pull request.

    Ops are matched by name and by order, so other names of layers do not matter. The gates of RECIPE itself are not
    used, because they compare with the float32 file.
    """
    from tflq.cache import default_store
    from tflq.diff import DiffRequest, parse_gates
    from tflq.diff import diff as compare
    from tflq.pipeline import Settings
    from tflq.recipe_warnings import warnings

    with boundary(options.as_json, diff_options.recipe, options.overrides):
        recipe = load_recipe(diff_options.recipe, options) if diff_options.recipe else None
        request = DiffRequest(a, b, recipe, parse_gates(diff_options.gate))
        with display_for(options) as display:
            result = compare(request, Settings(timeout=options.timeout, listen=display, store=default_store()))
        _write(result, diff_options)
    for warning in warnings(recipe) if recipe else ():
        note(warning)
    _show(result, options.as_json)
    sys.exit(result.exit_code)


def _write(result: DiffResult, diff_options: DiffOptions) -> None:
    """Write the files that the options name."""
    from tflq.batch import files
    from tflq.diff.html import to_html
    from tflq.diff.markdown import to_markdown

    if diff_options.markdown:
        files.write(diff_options.markdown, to_markdown(result))
    if diff_options.html:
        files.write(diff_options.html, to_html(result))


def _show(result: DiffResult, as_json: bool) -> None:
    """Print the report: JSON, tables on a terminal, or Markdown elsewhere."""
    from rich.console import Console
    from rich.markdown import Markdown

    from tflq.diff.json_report import to_json
    from tflq.diff.markdown import to_markdown

    console = Console()
    if as_json:
        click.echo(to_json(result), nl=False)
    elif console.is_terminal:
        console.print(Markdown(printable(to_markdown(result))))
    else:
        click.echo(printable(to_markdown(result)), nl=False)
