"""Loads the recipes that a command line names, and applies its options to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tflq.cli.options import CommandOptions
from tflq.errors import RecipeError

if TYPE_CHECKING:
    from tflq.recipe import Recipe


def begin_tensorflow_import() -> None:
    """Let another process import TensorFlow while this one loads the recipe."""
    from tflq.worker import preload_tensorflow

    preload_tensorflow()


def load_recipe(path: Path, options: CommandOptions, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe and apply the options; `overrides` come after the overrides of the options."""
    from tflq.recipe import load

    recipe = load(path, [*options.overrides, *overrides])
    if options.refuses_code:
        refuse_code(path, recipe)
    return with_options(recipe, options, 1)


def load_recipes(paths: Sequence[Path], options: CommandOptions) -> list[Recipe]:
    """Load all recipes. Raise one RecipeError with the errors of all of them."""
    from tflq.recipe import load

    recipes, errors = [], []
    for path in paths:
        try:
            recipes.append(load(path, options.overrides))
            if options.refuses_code:
                refuse_code(path, recipes[-1])
        except RecipeError as error:
            errors.append(str(error))
    if errors:
        raise RecipeError("\n".join(dict.fromkeys(errors)))
    return recipes


def refuse_code(path: Path, recipe: Recipe) -> None:
    """Raise RecipeError if the recipe names Python functions."""
    from tflq.recipe_files import code_sections

    if sections := code_sections(recipe):
        raise RecipeError(f"{path}: {', '.join(sections)} would run Python code, and --no-code was given")


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
