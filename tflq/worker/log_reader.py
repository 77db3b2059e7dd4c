"""Read the log as text while workers write to it."""

from __future__ import annotations

import codecs
from pathlib import Path


class LogReader:
    """Reads the text that is appended to a log after the reader was created.

    A read may end inside a character. Its first bytes then wait until the others are there.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._position = log.stat().st_size if log.exists() else 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self, is_last: bool = False) -> str:
        """Return the new text, which may be empty.

        If `is_last`, nobody writes to the log any more, and an incomplete character is replaced.
        """
        return self._decoder.decode(self._new_bytes(), final=is_last)

    def _new_bytes(self) -> bytes:
        if not self._log.exists() or self._log.stat().st_size <= self._position:
            return b""
        with self._log.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        self._position += len(new)
        return new
