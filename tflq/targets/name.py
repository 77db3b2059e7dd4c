"""The type of a target's name in a recipe."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, SerializationInfo, ValidationInfo

from tflq.errors import RecipeError
from tflq.strict import AsTuple, PlacedText, path_in
from tflq.targets.shipped import SUFFIXES, load


def has_time(names: Iterable[Any], folder: Path) -> bool:
    """Return whether a target of these names, or of these paths in the folder, has a model of time."""
    for name in names:
        with suppress(RecipeError):
            if isinstance(name, str) and load(str(name), _folder_of(name, folder)).vela_options:
                return True
    return False


def _folder_of(name: str, otherwise: Path) -> Path:
    return name.folder if isinstance(name, PlacedText) else otherwise


def _checked(value: Any, info: ValidationInfo) -> Any:
    """Return the name. A path becomes absolute. Raise ValueError if there is no such target."""
    if not isinstance(value, str):
        return value
    folder = _folder_of(value, (info.context or {}).get("folder") or Path())
    try:
        load(str(value), Path(folder))
    except RecipeError as error:
        raise ValueError(str(error)) from error
    return str(path_in(Path(folder), value)) if value.endswith(SUFFIXES) else str(value)


def _written(name: str, info: SerializationInfo) -> str:
    folder = (info.context or {}).get("folder")
    return os.path.relpath(name, folder) if folder and name.endswith(SUFFIXES) else name


TargetName = Annotated[str, BeforeValidator(_checked), PlainSerializer(_written)]
"""The name of a target, or the path of its YAML file, relative to the folder of the file that names it."""
TargetNames = Annotated[tuple[TargetName, ...], AsTuple]
