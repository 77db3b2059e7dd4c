"""Files that a batch writes besides what its models yield."""

from __future__ import annotations

from pathlib import Path

from tflq import cache
from tflq.errors import RecipeError


def write(path: Path, text: str) -> None:
    """Write the text, whole or not at all; RecipeError where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cache.write(path, text)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be written: {error.strerror}") from error
