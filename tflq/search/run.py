"""Run a search: from a recipe to found.yaml and search.json."""

from __future__ import annotations

from dataclasses import replace

from tflq import cache
from tflq.errors import RecipeError
from tflq.pipeline import Settings
from tflq.recipe import Recipe, dump
from tflq.search.json_report import to_json
from tflq.search.options import Goal
from tflq.search.search_result import SearchResult, conclude
from tflq.search.space import OP_KEYS, SearchRequest, named_by_search, space
from tflq.search.state import SearchState
from tflq.search.strategy import FoundTrial, Search
from tflq.targets.tools import vela_command
from tflq.targets.vela import VELA_EXTRA
from tflq.trials import SELECTION, TrialLimits, TrialRunner, open_trials, refuse_none

FOUND, REPORT = "found.yaml", "search.json"
OUTPUT = "found"
"""The output folder of found.yaml, beside it."""


def search(recipe: Recipe, request: SearchRequest, settings: Settings, limits: TrialLimits) -> SearchResult:
    """Search, and write the found recipe and all trials into the recipe's output folder.

    Raise RecipeError, SourceError, DatasetError or ConversionError if trials are not possible.
    """
    refuse_none(recipe.gates)
    _refuse_unknown(recipe, request.goal)
    with open_trials(recipe, settings, replace(limits, gates=recipe.gates)) as runner:
        _refuse_unmeasurable(runner)
        whole = space(recipe, request, runner.is_observed)
        families = tuple(runner.resolve_auto(family).variant for family in whole.families)
        state = SearchState(runner, replace(whole, families=families), runner.constraints, request.goal)
        outcome = conclude(state, Search(state).find())
        _write(outcome, runner)
    return outcome


def _refuse_unknown(recipe: Recipe, goal: Goal) -> None:
    """Raise RecipeError if no target tells the value of the goal."""
    targets = recipe.checked_targets
    if goal == "ram" and not any(target.has_memory for target in targets):
        raise RecipeError("--goal ram: no target has a plan of memory: give --target micro")
    if goal == "target-time" and not any(target.vela_options for target in targets):
        raise RecipeError("--goal target-time: no target has a model of time: give --target ethos-u55-128")
    needs_compiler = goal == "target-time" or (goal == "ram" and not any(target.memory for target in targets))
    if needs_compiler and vela_command() is None:
        raise RecipeError(f"--goal {goal}: the compiler of the target is not installed: install {VELA_EXTRA}")


def _refuse_unmeasurable(runner: TrialRunner) -> None:
    kinds = {constraint.kind for constraint in runner.constraints}
    if "max_metric_drop" in kinds and runner.recipe.measured_on.metric is None:
        raise RecipeError(
            "--max-drop: evaluation has no metric that could drop: give --min-agreement or --min-sqnr instead"
        )
    if "min_agreement" in kinds and not runner.evaluations[SELECTION].stored.base.agreement:
        raise RecipeError("--min-agreement: no output is a row of classes: give --min-sqnr instead")


def _write(outcome: SearchResult, runner: TrialRunner) -> None:
    """Write search.json, and found.yaml if a file was found. Else delete the found.yaml of an earlier search."""
    folder = runner.recipe.output
    cache.write(folder / REPORT, to_json(outcome))
    if outcome.found is None:
        (folder / FOUND).unlink(missing_ok=True)
    else:
        cache.write(folder / FOUND, dump(found_recipe(outcome, outcome.found, runner.recipe), folder))


def found_recipe(outcome: SearchResult, found: FoundTrial, recipe: Recipe) -> Recipe:
    """Return the recipe with only the found variant, which names its ops in float and in 16 bits."""
    trial = found.selection.trial
    recipe_trial = outcome.space.recipe_trial(trial)
    named = {
        str(key): (
            *getattr(recipe_trial.variant, key),
            *(outcome.names[op] for op in named_by_search(trial, recipe_trial, key)),
        )
        for key in OP_KEYS
    }
    variant = trial.variant.model_copy(update=named)
    assert recipe.calibration is not None
    calibration = recipe.calibration.model_copy(update={"ranges": trial.ranges})
    update = {"variants": (variant,), "calibration": calibration, "training": None, "output": recipe.output / OUTPUT}
    return recipe.model_copy(update=update)
