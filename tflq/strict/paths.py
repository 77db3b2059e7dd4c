"""Paths in YAML files. A path that no file can have is refused in words, before the system is asked."""

from __future__ import annotations

import os
from pathlib import Path

MAX_PART = 255
MAX_PATH = 4096
"""The largest number of bytes of a file name and of a path on Linux."""


def path_in(folder: Path, text: str) -> Path:
    """Return the path that the text names, relative to the folder. Raise ValueError if no file can have this path."""
    if not text:
        raise ValueError("this path is empty")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{Path(text).parts[0]}: this user has no home folder") from None
    path = Path(os.path.normpath(folder / path))
    if len(os.fsencode(path)) >= MAX_PATH:
        raise ValueError(f"this path has more than {MAX_PATH - 1:,} bytes")
    if any(len(os.fsencode(part)) > MAX_PART for part in path.parts):
        raise ValueError(f"this path has a part of more than {MAX_PART} bytes")
    return path
