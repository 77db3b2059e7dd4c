"""The commands. Each imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflq.errors import RecipeError, TflqError

if TYPE_CHECKING:
    from tflq.cli.display import Display
    from tflq.recipe import Recipe
    from tflq.result import Result

File = click.Path(path_type=Path)
ExistingFile = click.Path(path_type=Path, exists=True, dir_okay=False)
INTERRUPTED = 130


@dataclass
class Options:
    """What commands that run recipes have in common."""

    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    output: Path | None = None
    as_json: bool = False
    verbose: bool = False
    timeout: float | None = None


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    setattr(context.ensure_object(Options), str(parameter.name), value)


_set = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_keep,
    expose_value=False,
    help="Override a key of the recipe, such as calibration.samples=50.",
)
_only = click.option(
    "--only", metavar="NAME", multiple=True, callback=_keep, expose_value=False, help="Make only this variant."
)
_output = click.option(
    "--output", metavar="DIR", type=File, callback=_keep, expose_value=False, help="Write there, not where RECIPE says."
)
_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=_keep,
    expose_value=False,
    help="Print the report as JSON, nothing else.",
)
_verbose = click.option(
    "-v", "--verbose", is_flag=True, callback=_keep, expose_value=False, help="Show what TensorFlow says, too."
)
_timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    callback=_keep,
    expose_value=False,
    help="Stop a stage that takes longer.",
)
_options = click.make_pass_decorator(Options, ensure=True)


class _InOrder(click.Group):
    """Lists the commands in the order in which one meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@contextmanager
def _boundary() -> Iterator[None]:
    """The one place where an error becomes a message and an exit code."""
    try:
        yield
    except TflqError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted; the files of the last run are as they were", err=True)
        sys.exit(INTERRUPTED)


def _complain(error: TflqError) -> None:
    for line in str(error).splitlines():
        click.echo(f"{click.style('error:', fg='red')} {line}", err=True)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tflq")
def main() -> None:
    """Turn a float TensorFlow model into the .tflite files that ship: asked, made, checked, measured.

    \b
    Exit codes:
      0  made, checked, all gates passed
      1  made, but a gate failed
      2  the command line or the recipe is wrong
      3  the source cannot be read, or has no such signature
      4  the data cannot be read, or cannot calibrate
      5  conversion failed or crashed, timed out, ran out of memory
      6  made, but it breaks its mode's contract
      7  made, but it cannot be run or evaluated
      130  interrupted
    """


@main.command()
@click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True, type=File)
@_set
@_only
@_output
@_json
@_verbose
@_timeout
@_options
def convert(options: Options, recipes: tuple[Path, ...]) -> None:
    """Make, check and measure the variants of each RECIPE."""
    with _boundary():
        loaded = [_adjusted(recipe, options, len(recipes)) for recipe in _load(recipes, options.overrides)]
        outcomes = [_run(recipe, options, None) for recipe in loaded]
    if options.as_json:
        _print_json(outcomes)
    sys.exit(max(outcome.exit_code for outcome in outcomes))


@main.command()
@click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True, type=File)
@_set
@_options
def check(options: Options, recipes: tuple[Path, ...]) -> None:
    """Say what is wrong with each RECIPE, without TensorFlow."""
    from tflq.recipe import warnings

    with _boundary():
        for path, recipe in zip(recipes, _load(recipes, options.overrides), strict=True):
            recipe.model.check()
            for warning in warnings(recipe):
                click.echo(f"{click.style('note:', fg='yellow')} {path}: {warning}", err=True)
            names = ", ".join(variant.name for variant in recipe.variants)
            click.echo(f"{path}: ok: {recipe.model.path} to {names} in {recipe.output}")


@main.command()
@click.argument("model", type=File)
@click.option("-o", "target", metavar="FILE", type=File, help="Write there, not to standard output.")
@_verbose
@_options
def init(options: Options, model: Path, target: Path | None) -> None:
    """Write a commented recipe for MODEL.

    It is made from the model's signature, and runs as it is, with random numbers for data.
    """
    from tflq import cache, starter

    with _boundary(), _display(options) as display:
        text = starter.recipe_for(model, target.parent if target else Path(), display)
        if target is not None and target.exists():
            raise RecipeError(f"{target}: exists already; remove it, or choose another name")
    if target is None:
        click.echo(text, nl=False)
    else:
        cache.write(target, text)
        click.echo(f"{target}: written; try it with: tflq convert {target}")


@main.command()
@click.argument("file", metavar="FILE.tflite", type=ExistingFile)
@click.argument("recipe", type=File)
@_set
@_json
@_verbose
@_timeout
@_options
def evaluate(options: Options, file: Path, recipe: Path) -> None:
    """Measure a FILE on the data of RECIPE.

    The file may be made anywhere; it is held against the float model of the recipe.
    """
    with _boundary():
        (loaded,) = _load((recipe,), options.overrides)
        outcome = _run(loaded, options, file)
    if options.as_json:
        _print_json([outcome])
    sys.exit(outcome.exit_code)


@main.command()
@click.argument("file", metavar="FILE.tflite", type=ExistingFile)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: Path, as_json: bool) -> None:
    """Show what a FILE holds.

    Ops and their precision, inputs and outputs with their scales, where the bytes are.
    """
    from tflq import flatbuffer
    from tflq.report import inspect as report

    with _boundary():
        graph = flatbuffer.load(file)
    click.echo(report.to_json(graph) if as_json else report.to_text(graph))


@main.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from tflq.recipe import json_schema

    click.echo(json_schema(), nl=False)


def _load(paths: Sequence[Path], overrides: Sequence[str]) -> list[Recipe]:
    """All recipes; RecipeError with the faults of all."""
    from tflq.recipe import load

    recipes, faults = [], []
    for path in paths:
        try:
            recipes.append(load(path, overrides))
        except RecipeError as error:
            faults.append(str(error))
    if faults:
        raise RecipeError("\n".join(faults))
    return recipes


def _adjusted(recipe: Recipe, options: Options, count: int) -> Recipe:
    """The recipe, its variants and output folder as the options have it; of several recipes, each in its own folder."""
    from tflq.recipe import only

    recipe = only(recipe, options.only)
    if options.output is None:
        return recipe
    return recipe.model_copy(update={"output": options.output / recipe.name if count > 1 else options.output})


@dataclass(frozen=True)
class Outcome:
    """What became of one recipe: a result, or the error that left none."""

    result: Result | None
    error: TflqError | None

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error else self.result.exit_code if self.result else 0


def _run(recipe: Recipe, options: Options, file: Path | None) -> Outcome:
    from tflq.pipeline import Settings, run

    try:
        with _display(options) as display:
            result = run(recipe, Settings(timeout=options.timeout, listen=display), file)
    except TflqError as error:
        _complain(error)
        return Outcome(None, error)
    if not options.as_json:
        _show(result, recipe, file)
    return Outcome(result, None)


def _display(options: Options) -> Display:
    from rich.console import Console

    from tflq.cli.display import Display

    return Display(Console(stderr=True), options.verbose, is_silent=options.as_json)


def _show(result: Result, recipe: Recipe, file: Path | None) -> None:
    from rich.console import Console

    from tflq.report.terminal import renderables

    console = Console()
    for renderable in renderables(result):
        console.print(renderable)
    if file is None:
        console.print(f"report: {recipe.output / 'report.md'}", highlight=False, soft_wrap=True)


def _print_json(outcomes: Sequence[Outcome]) -> None:
    """One report, or a list of them where several recipes were given."""
    from tflq.report.machine import to_json

    reports = [outcome.result or outcome.error for outcome in outcomes]
    click.echo(to_json(reports[0] if len(reports) == 1 else reports), nl=False)
