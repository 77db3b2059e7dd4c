"""The files that a batch writes, apart from the files of its models."""

from __future__ import annotations

from pathlib import Path

from tflq import cache
from tflq.errors import RecipeError


def write(path: Path, text: str) -> None:
    """Write the text, whole or not at all. Raise RecipeError if the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cache.write(path, text)
    except OSError as error:
        raise RecipeError(f"{path}: the file cannot be written: {error.strerror}") from error
