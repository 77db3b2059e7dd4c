"""A search from its recipe to found.yaml and search.json."""

from __future__ import annotations

from dataclasses import replace

from tflq import cache
from tflq.errors import RecipeError
from tflq.pipeline import Settings
from tflq.recipe import Recipe, dump
from tflq.search.json_report import to_json
from tflq.search.search_result import SearchResult, conclude
from tflq.search.space import SearchRequest, kept_by_search, space
from tflq.search.state import SearchState
from tflq.search.strategy import FoundTrial, Search
from tflq.trials import SELECTION, TrialLimits, TrialRunner, open_trials, refuse_none

FOUND, REPORT = "found.yaml", "search.json"
OUTPUT = "found"
"""Where what found.yaml describes is made, beside it."""


def search(recipe: Recipe, request: SearchRequest, settings: Settings, limits: TrialLimits) -> SearchResult:
    """Search, and write what was found and tried into the recipe's output folder.

    Raises RecipeError, SourceError, DatasetError or ConversionError where there is nothing to try.
    """
    refuse_none(recipe.gates)
    with open_trials(recipe, settings, replace(limits, gates=recipe.gates)) as runner:
        _refuse_what_cannot_be_measured(runner)
        whole = space(recipe, request, runner.is_observed)
        decided = replace(whole, families=tuple(runner.decided(one).variant for one in whole.families))
        state = SearchState(runner, decided, runner.constraints, request.goal)
        outcome = conclude(state, Search(state).find())
        _write(outcome, runner)
    return outcome


def _refuse_what_cannot_be_measured(runner: TrialRunner) -> None:
    kinds = {constraint.kind for constraint in runner.constraints}
    if "max_metric_drop" in kinds and runner.recipe.measured_on.metric is None:
        raise RecipeError("--max-drop: is of a metric, and evaluation gives none: give --min-agreement or --min-sqnr")
    if "min_agreement" in kinds and not runner.judging[SELECTION].stored.base.agreement:
        raise RecipeError("--min-agreement: no output is a row of classes: give --min-sqnr")


def _write(outcome: SearchResult, runner: TrialRunner) -> None:
    """Both files, or without a find only the report, and no recipe of an earlier search."""
    folder = runner.recipe.output
    cache.write(folder / REPORT, to_json(outcome))
    if outcome.found is None:
        (folder / FOUND).unlink(missing_ok=True)
    else:
        cache.write(folder / FOUND, dump(found_recipe(outcome, outcome.found, runner.recipe), folder))


def found_recipe(outcome: SearchResult, found: FoundTrial, recipe: Recipe) -> Recipe:
    """The recipe with the found variant alone, its ops in float by name."""
    trial = found.selection.trial
    recipe_trial = outcome.space.recipe_trial(trial)
    names = [outcome.names[op] for op in kept_by_search(trial, recipe_trial)]
    variant = trial.variant.model_copy(update={"keep_float": (*recipe_trial.variant.keep_float, *names)})
    assert recipe.calibration is not None
    calibration = recipe.calibration.model_copy(update={"ranges": trial.ranges})
    update = {"variants": (variant,), "calibration": calibration, "training": None, "output": recipe.output / OUTPUT}
    return recipe.model_copy(update=update)
