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
MAX_ERRORS = 20
"""The largest number of errors in one message."""


def validate(source: YamlSource, model: type[M], folder: Path) -> M:
    """Validate the source as that model. Paths are relative to the folder. Raise one RecipeError with all errors."""
    messages = list(source.errors)
    if not isinstance(source.data, dict):
        what = "the file is empty" if source.data is None else f"the file contains {shown(source.data)}"
        where = source.places.get((), source.name)
        hint = f"{where}: {what}: write one `key: value` per line, with a space after the colon"
        raise RecipeError("\n".join(_first([*messages, hint])))
    try:
        value = model.model_validate(source.data, context={"folder": folder})
    except ValidationError as error:
        messages += [source.error(tuple(item["loc"]), item["msg"]) for item in error.errors()]
    if messages:
        raise RecipeError("\n".join(_first(sorted(dict.fromkeys(messages), key=_line))))
    return value


def _first(messages: list[str]) -> list[str]:
    """Return the first errors, and how many more there are."""
    more = len(messages) - MAX_ERRORS
    return [*messages[:MAX_ERRORS], f"there are {more:,} more errors"] if more > 0 else messages


def _line(message: str) -> int:
    match = re.search(r":(\d+): ", message)
    return int(match.group(1)) if match else 0
