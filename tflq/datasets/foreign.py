"""Run code of the user or of a library, and turn its exceptions into errors that name this code."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType

from tflq.errors import DatasetError
from tflq.worker import require_own_process

MAX_LENGTH = 300
"""An error contains at most this number of characters of the exception's message."""


class ForeignCode:
    """A context that turns any exception into a DatasetError with `what`, the exception and the line in the folder.

    Inside the context, Python looks for modules first in the folder, if one is given.
    """

    def __init__(self, what: str, folder: Path | None = None) -> None:
        self.what = what
        self.folder = folder

    def __enter__(self) -> None:
        require_own_process()  # it may change its process, and it may depend on what others changed
        if self.folder:
            sys.path.insert(0, str(self.folder))

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if str(self.folder) in sys.path:
            sys.path.remove(str(self.folder))
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, DatasetError):
            place = self._place(error)
            raise DatasetError(f"{self.what}: {place + ': ' if place else ''}{_summary(error)}") from error

    def _place(self, error: BaseException) -> str:
        """Return `file:line` of the innermost code in the folder, or an empty text."""
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):
            frames.append((error.filename or "", error.lineno))
        lines = [f"{name}:{line}" for name, line in frames if self.folder and self.folder in Path(name).parents]
        return lines[-1] if lines else ""


def _summary(error: BaseException) -> str:
    """Return the exception's type and the start of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:MAX_LENGTH]}" if lines else type(error).__name__
