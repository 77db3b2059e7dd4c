"""What each model's report depends on, as make reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tflq.batch import stamp
from tflq.batch.zoo import Batch
from tflq.errors import DatasetError
from tflq.recipe import Recipe


def to_make(batch: Batch) -> str:
    """A rule for each model's report.json, with paths as seen from here.

    Each file is a target of its own too, without a recipe, so that make does not stop where one is gone.
    """
    sound = [(item.recipe, item.files) for item in batch.items if isinstance(item.recipe, Recipe)]
    needed = {recipe.output / "report.json": sorted({*files, *_needed(recipe)}) for recipe, files in sound}
    rules = [f"{_target(target)}: {' '.join(map(_escaped, files))}" for target, files in needed.items()]
    every = sorted({file for files in needed.values() for file in files})
    return "\n\n".join([*rules, *(f"{_target(file)}:" for file in every)]) + "\n"


def _needed(recipe: Recipe) -> Iterator[Path]:
    yield from stamp.source_files(recipe)
    try:
        yield from stamp.data_files(recipe)
    except DatasetError:  # nobody can tell; the batch itself will take it as changed
        return


def _target(path: Path) -> str:
    return _escaped(path).replace("%", "\\%")


def _escaped(path: Path) -> str:
    text = os.path.relpath(path) if _is_near(path) else str(path)
    for special, escape in (("\\", "\\\\"), (" ", "\\ "), ("#", "\\#"), ("$", "$$"), (":", "\\:")):
        text = text.replace(special, escape)
    return text


def _is_near(path: Path) -> bool:
    return not os.path.relpath(path).startswith("..")
