"""`tflq search`: the smallest or fastest file that meets the bars."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflq.cli import options as option
from tflq.cli.boundary import boundary
from tflq.cli.options import CommandOptions, File, Seconds, option_of, pass_options, pass_options_of, stored_options
from tflq.cli.recipes import load_one
from tflq.cli.trials import console_of_outcome, display_of_trials, show_parts
from tflq.search.options import KEYS, SEARCHED, Goal

if TYPE_CHECKING:
    from tflq.recipe import Recipe
    from tflq.search.search_result import SearchResult


class _Some(click.ParamType[tuple[str, ...]]):
    """Some of those words, with commas between."""

    name = "words"

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[str, ...]:
        given = value if isinstance(value, tuple) else tuple(part.strip() for part in str(value).split(","))
        for word in given:
            if word not in self.words:
                self.fail(f"{word!r} is not one of {', '.join(self.words)}", parameter, context)
        return given


@dataclass
class SearchOptions:
    """What is said of the search itself."""

    goal: Goal = "size"
    variant: str | None = None
    modes: tuple[tuple[str, ...], ...] = ()
    """What was said each time."""
    fixed: tuple[tuple[str, ...], ...] = ()
    max_trials: int = 250
    time: float | None = None
    gates: list[str] = field(default_factory=list)
    """Overrides of the recipe's."""


_option = partial(option_of, SearchOptions)


def _bar(name: str, gate: str, type_: click.ParamType[float], help_: str) -> Callable[[Any], Any]:
    """An option that takes the place of a gate of the recipe."""
    metavar = name.rpartition("-")[2].upper()

    def keep(context: click.Context, _: click.Parameter, value: float | None) -> None:
        if value is not None:
            stored_options(context, SearchOptions).gates.append(f"gates.{gate}={value!r}")

    return click.option(name, type=type_, metavar=metavar, callback=keep, expose_value=False, help=help_)


@click.command()
@click.argument("recipe", type=File)
@_bar(
    "--max-drop",
    "max_metric_drop",
    click.FloatRange(min=0),
    "How far the metric may drop; by default gates.max_metric_drop.",
)
@_bar(
    "--min-agreement",
    "min_agreement",
    click.FloatRange(0, 1),
    "The share of samples whose top class must be the float model's.",
)
@_bar("--min-sqnr", "min_sqnr_db", click.FLOAT, "The SQNR in dB that every output must have.")
@_option("--goal", type=click.Choice(["size", "latency"]), help="What is to be least.")
@_option(
    "--variant",
    metavar="NAME",
    help="Search within this variant of RECIPE: its mode, and its options to begin with.",
)
@_option(
    "--modes",
    metavar="MODE",
    type=_Some(SEARCHED),
    help="Search within this mode; may be repeated, or be several with commas between, such as int8,int16x8.",
)
@_option(
    "--fixed",
    metavar="KEY",
    type=_Some(KEYS),
    help=f"Leave it as RECIPE has it: {', '.join(KEYS)}; may be repeated, or be several with commas between.",
)
@_option("--max-trials", metavar="N", type=click.IntRange(min=1), help="Make no more trials than that.")
@_option("--time", metavar="SECONDS", type=Seconds, help="Begin no trial after that time.")
@option.overriding
@option.output
@option.running
@pass_options
@pass_options_of(SearchOptions)
def search(said: SearchOptions, options: CommandOptions, recipe: Path) -> None:
    """Find the smallest or fastest file that meets the bars.

    Modes, methods of ranges, options, and ops kept in float are tried on some samples, and what was found is confirmed
    on others. The bars are the gates of RECIPE. Beside its files, found.yaml is what `tflq convert` makes it from, and
    search.json has all trials. A search that was stopped goes on. Where nothing meets the bars, the exit code is 1.
    """
    from tflq.cache import default_store
    from tflq.pipeline import Settings
    from tflq.search.run import search as run_search
    from tflq.search.space import SearchRequest
    from tflq.trials import LOG, TrialLimits

    with boundary(options.as_json):
        loaded = load_one(recipe, options, said.gates)
        asked = SearchRequest(said.goal, said.variant, (*chain(*said.modes),), frozenset(chain(*said.fixed)))
        options.log = loaded.output / LOG
        with display_of_trials(options) as listen:
            settings = Settings(timeout=options.timeout, listen=listen, store=default_store())
            outcome = run_search(loaded, asked, settings, TrialLimits(said.max_trials, said.time))
    _show(outcome, loaded, options.as_json)
    sys.exit(outcome.exit_code)


def _show(outcome: SearchResult, recipe: Recipe, as_json: bool) -> None:
    from tflq.search import json_report, table
    from tflq.search.run import FOUND
    from tflq.search.search_result import sentence

    if as_json:
        click.echo(json_report.to_json(outcome), nl=False)
        return
    console = console_of_outcome(recipe)
    samples = outcome.samples[0].upper() + outcome.samples[1:] + "."
    show_parts(console, samples, table.rich_table(outcome), sentence(outcome))
    if outcome.found:
        show_parts(console, f"recipe: {recipe.output / FOUND}")
