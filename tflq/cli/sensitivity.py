"""`tflq sensitivity`: show which quantized ops lose accuracy, and why."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary
from tflq.cli.options import CommandOptions, File, Seconds, WrittenFile, option_of, pass_options, pass_options_of
from tflq.cli.recipes import begin_tensorflow_import, load_recipe
from tflq.cli.trials import print_all, result_console, trial_display

if TYPE_CHECKING:
    from tflq.recipe import Recipe
    from tflq.sensitivity import SensitivityResult
    from tflq.sensitivity.groups import By


@dataclass
class SensitivityOptions:
    """The options of the sensitivity analysis itself."""

    variant: str | None = None
    by: By = "op"
    max_trials: int | None = None
    time: float | None = None
    model_explorer: Path | None = None


_option = partial(option_of, SensitivityOptions)


@click.command()
@click.argument("recipe", type=File)
@_option("--variant", metavar="NAME", help="Analyze this variant of RECIPE. The default is the first with calibration.")
@_option(
    "--by",
    type=click.Choice(["op", "type", "layer"]),
    help="Try each op alone, or all ops of a type or layer together.",
)
@_option("--max-trials", metavar="N", type=click.IntRange(min=1), help="The largest number of trials.")
@_option("--time", metavar="SECONDS", type=Seconds, help="Start no trial after this time.")
@_option(
    "--model-explorer",
    metavar="FILE.json",
    type=WrittenFile,
    help="Also write the SQNR of every activation as an overlay for Google's Model Explorer.",
)
@option.overriding
@option.no_code
@option.output
@option.running
@pass_options
@pass_options_of(SensitivityOptions)
def sensitivity(sensitivity_options: SensitivityOptions, options: CommandOptions, recipe: Path) -> None:
    """Show which quantized ops lose accuracy, and why.

    Each op is tried in float while the others are quantized, and quantized while the others are in float. Every
    activation is compared with that of the float model. The ops that gain most for their cost in bytes and float ops
    come first, with the cause of their loss.

    The result is written to sensitivity.json in the output folder of RECIPE. If an analysis is stopped, the next call
    resumes it.
    """
    from tflq import sensitivity as analysis
    from tflq.cache import default_store
    from tflq.pipeline import Settings
    from tflq.trials import LOG, TrialLimits

    with boundary(options.as_json, recipe, options.overrides):
        begin_tensorflow_import()
        loaded = load_recipe(recipe, options)
        options.log = loaded.output / LOG
        request = analysis.SensitivityRequest(sensitivity_options.variant, sensitivity_options.by)
        with trial_display(options) as listen:
            settings = Settings(timeout=options.timeout, listen=listen, store=default_store())
            limits = TrialLimits(sensitivity_options.max_trials, sensitivity_options.time)
            result = analysis.sensitivity(loaded, request, settings, limits)
        if sensitivity_options.model_explorer:
            _write_overlay(result, sensitivity_options.model_explorer)
    _show(result, loaded, options.as_json)


def _write_overlay(result: SensitivityResult, file: Path) -> None:
    from tflq.batch import files
    from tflq.sensitivity.model_explorer import to_overlay

    files.write(file, to_overlay(result))


def _show(result: SensitivityResult, recipe: Recipe, as_json: bool) -> None:
    from tflq.sensitivity import REPORT, json_report, table

    if as_json:
        click.echo(json_report.to_json(result), nl=False)
        return
    console = result_console(recipe)
    print_all(console, *table.lines(result), table.rich_table(result, console.width), *table.findings(result))
    print_all(console, f"report: {recipe.output / REPORT}")
