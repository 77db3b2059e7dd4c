"""Loads the recipes that a command line names, and applies its options to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tflq.cli.options import CommandOptions
from tflq.errors import RecipeError

if TYPE_CHECKING:
    from tflq.recipe import Recipe


def load_recipe(path: Path, options: CommandOptions, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe and apply the options; `overrides` come after the overrides of the options."""
    from tflq.recipe import load

    return with_options(load(path, [*options.overrides, *overrides]), options, 1)


def load_recipes(paths: Sequence[Path], overrides: Sequence[str]) -> list[Recipe]:
    """Load all recipes. Raise one RecipeError with the errors of all of them."""
    from tflq.recipe import load

    recipes, errors = [], []
    for path in paths:
        try:
            recipes.append(load(path, overrides))
        except RecipeError as error:
            errors.append(str(error))
    if errors:
        raise RecipeError("\n".join(dict.fromkeys(errors)))
    return recipes


def with_options(recipe: Recipe, options: CommandOptions, count: int) -> Recipe:
    """Apply --only and --output. If `count` recipes share --output, each has a folder of its name in it."""
    from tflq.recipe import only

    recipe = only(recipe, options.only)
    if options.output is None:
        return recipe
    return recipe.model_copy(update={"output": options.output / recipe.name if count > 1 else options.output})


def refuse_shared_outputs(paths: Sequence[Path], recipes: Sequence[Recipe]) -> None:
    """Raise RecipeError if the files of one recipe would replace the files of another."""
    first: dict[Path, Path] = {}
    for path, recipe in zip(paths, recipes, strict=True):
        other = first.setdefault(recipe.output.absolute(), path)
        if other is not path:
            raise RecipeError(
                f"{path}: the output folder {recipe.output} is also that of {other}: give it another name or output"
            )
