"""Find targets: those of the package by name, and those of users by path."""

from __future__ import annotations

import functools
from pathlib import Path

from tflq import strict
from tflq.errors import RecipeError
from tflq.targets.schema import Target

FOLDER = Path(__file__).parent
SUFFIXES = (".yaml", ".yml")


@functools.cache
def shipped() -> tuple[Target, ...]:
    """Return the targets of the package, by name."""
    return tuple(_read(path) for path in sorted(FOLDER.glob("*.yaml")))


def load(name: str, folder: Path = Path()) -> Target:
    """Return the target of that name, or the one in the YAML file of that path, which is relative to the folder.

    Raise RecipeError if there is none.
    """
    if name.endswith(SUFFIXES):
        return _read(strict.path_in(folder, name))
    for target in shipped():
        if name in (target.name, *target.also):
            return target.model_copy(update={"name": name})
    names = [name for target in shipped() for name in (target.name, *target.also)]
    hint = strict.did_you_mean(name, names) or f": the targets are {', '.join(target.name for target in shipped())}"
    raise RecipeError(
        f"no target has the name {strict.shown(name)}{hint}; a target of your own is a path ending in .yaml"
    )


def _read(path: Path) -> Target:
    target = strict.validate(strict.read(path), Target, path.parent)
    if target.table_of is None:
        return target
    given = {key: getattr(target, key) for key in target.model_fields_set}
    return load(target.table_of).model_copy(update=given)
