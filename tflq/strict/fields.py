"""Field types that several models share: paths, names of files and functions, tuples."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    SerializationInfo,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from tflq.strict.model import Strict
from tflq.strict.paths import path_in
from tflq.strict.source import PlacedText
from tflq.strict.words import shown

FILE_NAME = r"^\w[\w.-]*$"
MAX_NAME = 100
"""The largest number of bytes of a name. The names of a recipe and of a variant are joined to a file name."""
FUNCTION_NAME = r"^\w+(\.\w+)*:\w+$"


def _from_folder(value: Any, info: ValidationInfo) -> Any:
    folder = value.folder if isinstance(value, PlacedText) else (info.context or {}).get("folder")
    if isinstance(value, (str, Path)) and folder is not None:
        return path_in(Path(folder), str(value))
    return Path(value) if isinstance(value, str) else value


def _to_folder(path: Path, info: SerializationInfo) -> str:
    folder = (info.context or {}).get("folder")
    return os.path.relpath(path, folder) if folder else str(path)


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_file_name(value: str) -> str:
    if not re.fullmatch(FILE_NAME, value):
        raise ValueError(
            f"{shown(value)} cannot be part of a file name: use letters, digits, _, - and ., and do not start with"
            " - or ."
        )
    if len(value.encode()) > MAX_NAME:
        raise ValueError(f"{shown(value)} is too long for a part of a file name: use at most {MAX_NAME} bytes")
    return value


def _is_function_name(value: str) -> str:
    module, _, function = value.partition(":")
    if not all(name.isidentifier() for name in [*module.split("."), function]):
        raise ValueError(f"{shown(value)} should have the form module:function, such as mypackage.data:rows")
    return value


RecipePath = Annotated[Path, BeforeValidator(_from_folder), PlainSerializer(_to_folder)]
"""A path, read relative to the folder of the file that names it, and written relative to the context's folder."""
FileName = Annotated[str, AfterValidator(_is_file_name), WithJsonSchema({"type": "string", "pattern": FILE_NAME})]
"""A word that becomes part of file names."""
FunctionName = Annotated[
    str, AfterValidator(_is_function_name), WithJsonSchema({"type": "string", "pattern": FUNCTION_NAME})
]
"""A function of an importable module, as `module:function`."""
AsTuple = BeforeValidator(_to_tuple)
"""Marks a tuple field. YAML writes it as a list."""


class FunctionOfFolder(Strict):
    """A section with the keys `python` and `folder`. The default folder is that of the file that names the function."""

    @model_validator(mode="before")
    @classmethod
    def _beside_its_file(cls, data: Any) -> Any:
        function = data.get("python") if isinstance(data, dict) else None
        if isinstance(function, PlacedText) and "folder" not in data:
            return {**data, "folder": PlacedText(".", function.folder)}
        return data
