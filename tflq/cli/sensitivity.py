"""`tflq sensitivity`: which ops lose what as integers, and why."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary
from tflq.cli.options import CommandOptions, File, Seconds, option_of, pass_options, pass_options_of
from tflq.cli.recipes import load_one
from tflq.cli.trials import console_of_outcome, display_of_trials, show_parts

if TYPE_CHECKING:
    from tflq.recipe import Recipe
    from tflq.sensitivity import SensitivityResult
    from tflq.sensitivity.groups import By


@dataclass
class SensitivityOptions:
    variant: str | None = None
    by: By = "op"
    max_trials: int | None = None
    time: float | None = None


_option = partial(option_of, SensitivityOptions)


@click.command()
@click.argument("recipe", type=File)
@_option("--variant", metavar="NAME", help="Study this variant of RECIPE, not the first that is calibrated.")
@_option("--by", type=click.Choice(["op", "type", "layer"]), help="Try single ops, or all of a type or layer at once.")
@_option("--max-trials", metavar="N", type=click.IntRange(min=1), help="Make no more trials than that.")
@_option("--time", metavar="SECONDS", type=Seconds, help="Begin no trial after that time.")
@option.overriding
@option.output
@option.running
@pass_options
@pass_options_of(SensitivityOptions)
def sensitivity(said: SensitivityOptions, options: CommandOptions, recipe: Path) -> None:
    """Show which ops of a variant lose accuracy as integers, and why.

    Each op is tried in float while the others are integers, and as an integer while the others are in float; every
    activation is compared with the float model's. What wins most for each byte and each op in float stands first, with
    its cause. A study that was stopped goes on. All of it is written to sensitivity.json, beside RECIPE's files.
    """
    from tflq import sensitivity as study
    from tflq.cache import default_store
    from tflq.pipeline import Settings
    from tflq.trials import LOG, TrialLimits

    with boundary(options.as_json):
        loaded = load_one(recipe, options)
        options.log = loaded.output / LOG
        with display_of_trials(options) as listen:
            settings = Settings(timeout=options.timeout, listen=listen, store=default_store())
            limits = TrialLimits(said.max_trials, said.time)
            outcome = study.sensitivity(loaded, study.SensitivityRequest(said.variant, said.by), settings, limits)
    _show(outcome, loaded, options.as_json)


def _show(outcome: SensitivityResult, recipe: Recipe, as_json: bool) -> None:
    from tflq.sensitivity import REPORT, json_report, table

    if as_json:
        click.echo(json_report.to_json(outcome), nl=False)
        return
    console = console_of_outcome(recipe)
    show_parts(console, *table.lines(outcome), table.rich_table(outcome, console.width), *table.findings(outcome))
    show_parts(console, f"report: {recipe.output / REPORT}")
