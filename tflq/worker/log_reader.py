"""The log that workers write to, read as text while they write."""

from __future__ import annotations

import codecs
from pathlib import Path


class LogReader:
    """Reads what is appended to a log after the reader was made.

    The log may be read in the middle of a character: its first bytes are kept until the others are there.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._position = log.stat().st_size if log.exists() else 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self, is_last: bool = False) -> str:
        """The text that is new; empty if there is none.

        `is_last`: nothing is written any more, so an unfinished character is replaced and not kept.
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
