"""A YAML document to the model that it describes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from tflq.errors import RecipeError
from tflq.strict.model import Strict
from tflq.strict.source import Source
from tflq.strict.words import shown

M = TypeVar("M", bound=Strict)


def validate(source: Source, model: type[M], folder: Path) -> M:
    """The model that the source describes, its paths taken from the folder; RecipeError with every fault."""
    faults = list(source.faults)
    if not isinstance(source.data, dict):
        what = "this is empty" if source.data is None else f"this is {shown(source.data)}"
        where = source.places.get((), source.name)
        message = f"{where}: {what}; it should hold a mapping, one `key: value` a line, with a space after the colon"
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
