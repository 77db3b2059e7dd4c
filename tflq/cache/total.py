"""The total size of the entries of a cache, in a file beside them. So no process has to list them to know it."""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

RECOUNT_SECONDS = 24 * 3600.0
"""A total is used for this time after the entries were counted. So an error from outside is corrected."""
LOCK_SECONDS = 10.0
"""The longest wait for another process, which may have been suspended. The total may then be wrong for a day."""
_CONTENT = re.compile(rb"(\d{20}) (\d{12})\n")


@dataclass(frozen=True)
class LockedTotal:
    """The file, while no other process may change it."""

    file: BinaryIO

    def bytes(self) -> int | None:
        """Return the total size; None if the entries must be counted."""
        content = self._read()
        if content is None or not 0 <= time.time() - content[1] <= RECOUNT_SECONDS:
            return None
        return content[0]

    def add(self, count: int) -> None:
        """Add the bytes to the total. It stays unknown if it is unknown."""
        if content := self._read():
            self._write(max(0, content[0] + count), content[1])

    def set_counted(self, total_bytes: int) -> None:
        """Set the total to that of all entries, which were counted just now."""
        self._write(total_bytes, int(time.time()))

    def _read(self) -> tuple[int, int] | None:
        self.file.seek(0)
        match = _CONTENT.fullmatch(self.file.read(100))
        return (int(match[1]), int(match[2])) if match else None

    def _write(self, total_bytes: int, counted: int) -> None:
        """Write both numbers at once. Their length is fixed, so nothing of the old content remains."""
        self.file.seek(0)
        self.file.write(b"%020d %012d\n" % (total_bytes, counted))
        self.file.truncate()


@contextmanager
def locked_total(path: Path) -> Iterator[LockedTotal]:
    """Lock the file, which is created if it is missing, for all processes."""
    path.touch()
    with path.open("r+b", buffering=0) as file:
        _lock(file)
        yield LockedTotal(file)


def _lock(file: BinaryIO) -> None:
    """Wait for the lock. If there is none in time, or the file system has no locks, go on without it."""
    end = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < end:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)
        except OSError:
            return
        else:
            return
