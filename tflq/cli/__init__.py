"""The commands. Each imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflq.cli import options as option
from tflq.cli.batch import batch
from tflq.cli.boundary import boundary, complain, heed_interrupts, print_json
from tflq.cli.cache import show_cache
from tflq.cli.ops import ops
from tflq.cli.options import ExistingFile, File, Options, pass_options
from tflq.cli.outcome import show
from tflq.cli.search import search
from tflq.cli.sensitivity import sensitivity
from tflq.errors import RecipeError, TflqError

if TYPE_CHECKING:
    from tflq.advise import Target
    from tflq.cli.display import Display
    from tflq.recipe import Recipe
    from tflq.result import Result


class _InOrder(click.Group):
    """Lists the commands in the order in which one meets them."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tflq")
def main() -> None:
    """Turn a float TensorFlow model into the .tflite files that ship: asked, made, checked, measured.

    \b
    Exit codes, the gravest of all variants and recipes:
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
    heed_interrupts()


@main.command()
@click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True, type=File)
@option.overriding
@option.only
@option.output
@option.json
@option.verbose
@option.timeout
@option.verify_reproducible
@pass_options
def convert(options: Options, recipes: tuple[Path, ...]) -> None:
    """Make, check and measure the variants of each RECIPE.

    The files, report.md and report.json are written into the output folder that RECIPE names, by default build/NAME
    beside it. A variant that fails, or a recipe, does not keep the others from being made.
    """
    with boundary(options.as_json):
        loaded = [_adjusted(recipe, options, len(recipes)) for recipe in _load(recipes, options.overrides)]
        _refuse_shared_outputs(recipes, loaded)
        outcomes = [_run(recipe, options, None) for recipe in loaded]
    if options.as_json:
        print_json(outcomes)
    sys.exit(max(outcome.exit_code for outcome in outcomes))


main.add_command(batch)


@main.command()
@click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True, type=File)
@option.overriding
@pass_options
def check(options: Options, recipes: tuple[Path, ...]) -> None:
    """Say what is wrong with each RECIPE, in a moment.

    All that can be told without TensorFlow and without reading the data.
    """
    with boundary():
        loaded = _load(recipes, options.overrides)
        _refuse_shared_outputs(recipes, loaded)
    sys.exit(max(_check(path, recipe) for path, recipe in zip(recipes, loaded, strict=True)))


@main.command()
@click.argument("model", type=File)
@click.option("-o", "target", metavar="FILE", type=File, help="Write there, not to standard output.")
@option.verbose
@pass_options
def init(options: Options, model: Path, target: Path | None) -> None:
    """Write a commented recipe for MODEL.

    MODEL is a SavedModel folder, a .keras or a .h5 file. The recipe is made from its signature, and runs as it is,
    with random numbers for data.
    """
    from tflq import cache, starter

    with boundary():
        if target is not None:
            _refuse_overwriting(target)
        with _display(options) as display:
            text = starter.recipe_for(model, target.parent if target else Path(), display)
    if target is None:
        click.echo(text, nl=False)
    else:
        cache.write(target, text)
        click.echo(f"{target}: written; try it with: tflq convert {target}")


main.add_command(ops)
main.add_command(sensitivity)
main.add_command(search)


@main.command()
@click.argument("recipe", type=File)
@click.option("--target", type=click.Choice(["cpu", "gpu", "integer"]), default="cpu", help="Where it is to run.")
@click.option("--tolerate", metavar="DROP", type=float, help="Of the metric; by default the recipe's gate, or 0.01.")
@option.overriding
@option.output
@pass_options
def advise(options: Options, recipe: Path, target: Target, tolerate: float | None) -> None:
    """Recommend one variant of RECIPE, by what was measured.

    In three lines: which, why, and whether training is worth it. `tflq convert` must have run before.
    """
    from tflq import advise as advising

    with boundary():
        loaded = _adjusted(_load((recipe,), options.overrides)[0], options, 1)
        measured = advising.read(loaded)
        gate = loaded.gates.max_metric_drop
        tolerated = next(drop for drop in (tolerate, gate, advising.TOLERATED) if drop is not None)
        advice = advising.advise(loaded, measured, target, tolerated)
    if measured.is_stale:
        _note(f"{recipe}: was changed since it was measured, or run with other options")
    for name, said in (("ship", advice.recommended), ("why", advice.reason), ("training", advice.training)):
        click.echo(f"{name + ':':<10}{said}")


@main.command()
@click.argument("file", metavar="FILE.tflite", type=ExistingFile)
@click.argument("recipe", type=File)
@option.overriding
@option.json
@option.verbose
@option.timeout
@pass_options
def evaluate(options: Options, file: Path, recipe: Path) -> None:
    """Measure a FILE on the data of RECIPE.

    The file may be made anywhere; it is held against the float model of the recipe.
    """
    with boundary(options.as_json):
        (loaded,) = _load((recipe,), options.overrides)
        outcome = _run(loaded, options, file)
    if options.as_json:
        print_json([outcome])
    sys.exit(outcome.exit_code)


@main.command()
@click.argument("file", metavar="FILE.tflite", type=ExistingFile)
@option.json
@pass_options
def inspect(options: Options, file: Path) -> None:
    """Show what a FILE holds.

    Ops and their precision, inputs and outputs with their scales, where the bytes are.
    """
    from tflq import flatbuffer
    from tflq.report import inspect as report

    with boundary(options.as_json):
        graph = flatbuffer.load(file)
    click.echo(report.to_json(graph) if options.as_json else report.to_text(graph))


@main.command()
@click.argument("kind", type=click.Choice(["recipe", "zoo"]), default="recipe")
def schema(kind: str) -> None:
    """Print the JSON Schema of a recipe or of a zoo, for editors."""
    from tflq import recipe
    from tflq.batch import schema as zoo

    click.echo(recipe.json_schema() if kind == "recipe" else zoo.json_schema(), nl=False)


main.add_command(show_cache)


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
        raise RecipeError("\n".join(dict.fromkeys(faults)))
    return recipes


def _adjusted(recipe: Recipe, options: Options, count: int) -> Recipe:
    """The recipe, its variants and output folder as the options have it; of several recipes, each in its own folder."""
    from tflq.recipe import only

    recipe = only(recipe, options.only)
    if options.output is None:
        return recipe
    return recipe.model_copy(update={"output": options.output / recipe.name if count > 1 else options.output})


def _refuse_shared_outputs(paths: Sequence[Path], recipes: Sequence[Recipe]) -> None:
    """RecipeError where the files of one recipe would replace those of another."""
    first: dict[Path, Path] = {}
    for path, recipe in zip(paths, recipes, strict=True):
        other = first.setdefault(recipe.output.absolute(), path)
        if other is not path:
            raise RecipeError(f"{path}: writes into {recipe.output}, as {other} does: give it another name or output")


def _refuse_overwriting(target: Path) -> None:
    if target.exists():
        raise RecipeError(f"{target}: exists already; remove it, or choose another name")
    if not target.parent.is_dir():
        raise RecipeError(f"{target}: there is no folder {target.parent}")


def _check(path: Path, recipe: Recipe) -> int:
    """Say what there is to say of it; the exit code."""
    from tflq.recipe import check_source, warnings

    try:
        check_source(recipe)
    except TflqError as error:
        complain(error, f"{path}: ")
        return error.exit_code
    for warning in warnings(recipe):
        _note(f"{path}: {warning}")
    names = ", ".join(variant.name for variant in recipe.variants)
    click.echo(f"{path}: ok: {recipe.model.path} to {names} in {recipe.output}")
    return 0


def _note(text: str) -> None:
    click.echo(f"{click.style('note:', fg='yellow')} {text}", err=True)


def _run(recipe: Recipe, options: Options, file: Path | None) -> Result | TflqError:
    from tflq.cache import default_store
    from tflq.pipeline import Settings, run

    try:
        with _display(options) as display:
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


def _display(options: Options) -> Display:
    from rich.console import Console

    from tflq.cli.display import Display

    return Display(Console(stderr=True), options.verbose, is_silent=options.as_json)
