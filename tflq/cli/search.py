"""`tflq search`: find the smallest or fastest file that passes the gates."""

from __future__ import annotations

import json
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
from tflq.cli.recipes import begin_tensorflow_import, load_recipe
from tflq.cli.trials import print_all, result_console, trial_display
from tflq.search.options import GOALS, SEARCHED, Goal

if TYPE_CHECKING:
    from tflq.recipe import Recipe
    from tflq.search.search_result import SearchResult


class _Words(click.ParamType[tuple[str, ...]]):
    """One or more of the given words, separated by commas."""

    name = "words"

    def __init__(self, words: Callable[[], tuple[str, ...]]) -> None:
        self.words = words

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[str, ...]:
        given = value if isinstance(value, tuple) else tuple(part.strip() for part in str(value).split(","))
        words = self.words()
        for word in given:
            if word not in words:
                self.fail(f"{word!r} is not one of {', '.join(words)}", parameter, context)
        return given


def _keys() -> tuple[str, ...]:
    from tflq.search.space import KEYS

    return KEYS


@dataclass
class SearchOptions:
    """The options of the search itself."""

    goal: Goal = "size"
    variant: str | None = None
    modes: tuple[tuple[str, ...], ...] = ()
    """The modes of each use of the option."""
    fixed: tuple[tuple[str, ...], ...] = ()
    """The keys of each use of the option."""
    max_trials: int = 250
    time: float | None = None
    target: tuple[str, ...] = ()
    gates: list[str] = field(default_factory=list)
    """Overrides of the gates of the recipe."""


_option = partial(option_of, SearchOptions)


def _gate(name: str, gate: str, type_: click.ParamType[float], help_: str) -> Callable[[Any], Any]:
    """Return an option that replaces a gate of the recipe."""
    metavar = name.rpartition("-")[2].upper()

    def store(context: click.Context, _: click.Parameter, value: float | None) -> None:
        if value is not None:
            stored_options(context, SearchOptions).gates.append(f"gates.{gate}={value!r}")

    return click.option(name, type=type_, metavar=metavar, callback=store, expose_value=False, help=help_)


@click.command()
@click.argument("recipe", type=File)
@_gate(
    "--max-drop",
    "max_metric_drop",
    click.FloatRange(min=0),
    "The largest drop of the metric that passes. The default is gates.max_metric_drop.",
)
@_gate(
    "--min-agreement",
    "min_agreement",
    click.FloatRange(0, 1),
    "The share of samples that must have the same top class as the float model.",
)
@_gate("--min-sqnr", "min_sqnr_db", click.FLOAT, "The SQNR in dB that every output must have.")
@_option(
    "--goal",
    type=click.Choice(GOALS),
    help="Minimize the size, the latency on a CPU, or the RAM or estimated time on a target.",
)
@_option(
    "--target",
    metavar="NAME",
    help="Try only files that run whole on this target of `tflq targets`. May be repeated. The default is"
    " gates.runs_whole_on.",
)
@_option(
    "--variant",
    metavar="NAME",
    help="Search in the mode of this variant of RECIPE. The search begins with its options.",
)
@_option(
    "--modes",
    metavar="MODE",
    type=_Words(lambda: SEARCHED),
    help="Search in this mode. May be repeated, or list several modes, such as int8,int16x8.",
)
@_option(
    "--fixed",
    metavar="KEY",
    type=_Words(_keys),
    help="Keep the value that RECIPE has for KEY: ranges, keep_float, keep_int16, per_channel, per_channel_dense, or a"
    " correction such as rounding. May be repeated, or list several keys.",
)
@_option("--max-trials", metavar="N", type=click.IntRange(min=1), help="The largest number of trials.")
@_option("--time", metavar="SECONDS", type=Seconds, help="Start no trial after this time.")
@option.overriding
@option.no_code
@option.output
@option.running
@pass_options
@pass_options_of(SearchOptions)
def search(search_options: SearchOptions, options: CommandOptions, recipe: Path) -> None:
    """Find the smallest or fastest file that passes the gates.

    The gates are those of RECIPE. The search tries float32, float16, dynamic, weights8 and dynamic4 first. Then it
    tries integer modes, range methods, options and ops in float on selection samples. The winner is measured again on
    confirmation samples.

    The output folder of RECIPE receives found.yaml, a recipe for `tflq convert`, and search.json with all trials. If
    a search is stopped, the next call resumes it. If no file passes the gates, the exit code is 1.
    """
    from tflq.cache import default_store
    from tflq.pipeline import Settings
    from tflq.search.run import search as run_search
    from tflq.search.space import SearchRequest
    from tflq.trials import LOG, TrialLimits

    with boundary(options.as_json, recipe, options.overrides):
        begin_tensorflow_import()
        loaded = load_recipe(recipe, options, [*search_options.gates, *_targets(search_options.target)])
        modes, fixed = tuple(chain(*search_options.modes)), frozenset(chain(*search_options.fixed))
        request = SearchRequest(search_options.goal, search_options.variant, modes, fixed)
        options.log = loaded.output / LOG
        with trial_display(options) as listen:
            settings = Settings(timeout=options.timeout, listen=listen, store=default_store())
            limits = TrialLimits(search_options.max_trials, search_options.time)
            result = run_search(loaded, request, settings, limits)
    _show(result, loaded, options.as_json)
    sys.exit(result.exit_code)


def _targets(names: tuple[str, ...]) -> list[str]:
    """Return the override of the recipe's gate on targets."""
    return [f"gates.runs_whole_on={json.dumps(names)}"] if names else []


def _show(result: SearchResult, recipe: Recipe, as_json: bool) -> None:
    from tflq.search import json_report, table
    from tflq.search.run import FOUND
    from tflq.search.search_result import sentence

    if as_json:
        click.echo(json_report.to_json(result), nl=False)
        return
    console = result_console(recipe)
    samples = result.samples[0].upper() + result.samples[1:] + "."
    print_all(console, samples, table.rich_table(result, console.width), sentence(result))
    if result.found:
        print_all(console, f"recipe: {recipe.output / FOUND}")
