"""Validate a YAML document as a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from tflq.errors import RecipeError
from tflq.strict.model import Strict
from tflq.strict.source import YamlSource
from tflq.strict.words import shown

M = TypeVar("M", bound=Strict)


def validate(source: YamlSource, model: type[M], folder: Path) -> M:
    """Validate the source as that model. Paths are relative to the folder. RecipeError lists every error."""
    faults = list(source.faults)
    if not isinstance(source.data, dict):
        what = "the file is empty" if source.data is None else f"the file contains {shown(source.data)}"
        where = source.places.get((), source.name)
        message = f"{where}: {what}: write one `key: value` per line, with a space after the colon"
        raise RecipeError("\n".join([*faults, message]))
    try:
        value = model.model_validate(source.data, context={"folder": folder})
    except ValidationError as error:
        faults += [source.fault(tuple(fault["loc"]), fault["msg"]) for fault in error.errors()]
    if faults:
        raise RecipeError("\n".join(sorted(dict.fromkeys(faults), key=_line)))
    return value


def _line(fault: str) -> int:
    found = re.search(r":(\d+): ", fault)
    return int(found.group(1)) if found else 0
