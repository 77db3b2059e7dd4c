"""The dependencies of each model's report, as rules for make."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tflq.batch.zoo import Batch
from tflq.errors import DatasetError
from tflq.recipe import Recipe
from tflq.recipe_files import data_files, source_files


def to_make(batch: Batch) -> str:
    """Return a rule for each report.json, with paths relative to the current folder.

    Each file is also a target without a recipe of make. So make does not stop if a file was removed.
    """
    valid = [(item.recipe, item.files) for item in batch.items if isinstance(item.recipe, Recipe)]
    dependencies = {recipe.output / "report.json": sorted({*files, *_inputs(recipe)}) for recipe, files in valid}
    rules = [f"{_target(target)}: {' '.join(map(_escaped, files))}" for target, files in dependencies.items()]
    all_files = sorted({file for files in dependencies.values() for file in files})
    return "\n\n".join([*rules, *(f"{_target(file)}:" for file in all_files)]) + "\n"


def _inputs(recipe: Recipe) -> Iterator[Path]:
    yield from source_files(recipe)
    try:
        yield from data_files(recipe)
    except DatasetError:  # the files are unknown; the batch itself treats the data as changed
        return


def _target(path: Path) -> str:
    return _escaped(path).replace("%", "\\%")


def _escaped(path: Path) -> str:
    text = os.path.relpath(path) if _is_below_here(path) else str(path)
    for special, escape in (("\\", "\\\\"), (" ", "\\ "), ("#", "\\#"), ("$", "$$"), (":", "\\:")):
        text = text.replace(special, escape)
    return text


def _is_below_here(path: Path) -> bool:
    return not os.path.relpath(path).startswith("..")
