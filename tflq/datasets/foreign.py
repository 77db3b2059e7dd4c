"""Code of others, run so that whatever it raises becomes an error that says whose it is."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType

from tflq.errors import DatasetError

LONGEST = 300
"""Characters of another's message that are passed on."""


class ForeignCode:
    """Within it, any exception becomes a DatasetError: `what`, the exception and the line of code in the folder.

    The folder, if any, is the first place for imports meanwhile.
    """

    def __init__(self, what: str, folder: Path | None = None) -> None:
        self.what = what
        self.folder = folder

    def __enter__(self) -> None:
        if self.folder:
            sys.path.insert(0, str(self.folder))

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if str(self.folder) in sys.path:
            sys.path.remove(str(self.folder))
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, DatasetError):
            place = self._place(error)
            raise DatasetError(f"{self.what}: {place + ': ' if place else ''}{told(error)}") from error

    def _place(self, error: BaseException) -> str:
        """`file:line` of the innermost code that lies in the folder."""
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):
            frames.append((error.filename or "", error.lineno))
        own = [f"{name}:{line}" for name, line in frames if self.folder and self.folder in Path(name).parents]
        return own[-1] if own else ""


def told(error: BaseException) -> str:
    """The exception's type and the start of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:LONGEST]}" if lines else type(error).__name__
