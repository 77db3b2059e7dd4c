"""The recipes that a command line names, with its options laid over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tflq.cli.options import CommandOptions
from tflq.errors import RecipeError

if TYPE_CHECKING:
    from tflq.recipe import Recipe


def load_one(path: Path, options: CommandOptions, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe as the options have it, with more overrides after those of the options."""
    from tflq.recipe import load

    return adjusted(load(path, [*options.overrides, *overrides]), options, 1)


def load_all(paths: Sequence[Path], overrides: Sequence[str]) -> list[Recipe]:
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


def adjusted(recipe: Recipe, options: CommandOptions, count: int) -> Recipe:
    """The recipe, its variants and output folder as the options have it; of several recipes, each in its own folder."""
    from tflq.recipe import only

    recipe = only(recipe, options.only)
    if options.output is None:
        return recipe
    return recipe.model_copy(update={"output": options.output / recipe.name if count > 1 else options.output})


def refuse_shared_outputs(paths: Sequence[Path], recipes: Sequence[Recipe]) -> None:
    """RecipeError where the files of one recipe would replace those of another."""
    first: dict[Path, Path] = {}
    for path, recipe in zip(paths, recipes, strict=True):
        other = first.setdefault(recipe.output.absolute(), path)
        if other is not path:
            raise RecipeError(f"{path}: writes into {recipe.output}, as {other} does: give it another name or output")
