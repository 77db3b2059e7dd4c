"""Files that are written whole or not at all, and the folder in which a run works."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tflq.errors import RecipeError


def write(path: Path, text: str) -> None:
    """Write the text, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def workspace(output: Path) -> Iterator[Path]:
    """A temporary folder inside the output folder, so that what is made in it can be renamed into place."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"{output}: cannot be made to write into: {error.strerror}") from error
    for left in output.glob(f"{_PREFIX}*"):
        if not is_running(int(left.name.removeprefix(_PREFIX).split("-")[0])):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=output) as folder:
        yield Path(folder)


_PREFIX = ".work-"


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
