"""The resident memory of processes and of their children, from the files of /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SEARCH_SECONDS = 1.0
"""The least time between two searches for children, since a search reads one file for each process of the machine."""


class MemoryWatch:
    """Measures processes with their children. The list of the children may be up to SEARCH_SECONDS old."""

    def __init__(self) -> None:
        self._searched = -SEARCH_SECONDS
        self._children: Mapping[int, list[int]] = {}

    def rss_bytes(self, process: int) -> int:
        """Return the resident memory of a process and its children in bytes; 0 if it has ended."""
        if time.monotonic() - self._searched >= SEARCH_SECONDS:
            self._children = _children()
            self._searched = time.monotonic()
        members, ahead = set[int](), [process]
        while ahead:
            member = ahead.pop()
            if member not in members:
                members.add(member)
                ahead += self._children.get(member, ())
        return sum(_pages(member)[0] for member in members) * PAGE_BYTES


def private_bytes() -> int:
    """Return the memory of this process that no file holds, in bytes."""
    resident, shared = _pages("self")
    return (resident - shared) * PAGE_BYTES


def reset_peak() -> None:
    """Let the peak memory of this process start again from its present memory, if the kernel allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # then the peak is that of the whole life of the process
        return


def _pages(process: int | str) -> tuple[int, int]:
    """Return the resident pages of a process, and those of them that files hold; zeros if it has ended."""
    try:
        fields = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0, 0
    return int(fields[1]), int(fields[2])


def _children() -> dict[int, list[int]]:
    """Return the children of every process of the machine."""
    children: dict[int, list[int]] = {}
    with os.scandir("/proc") as entries:
        names = [entry.name for entry in entries if entry.name.isdecimal()]
    for name in names:
        try:
            stat = Path(f"/proc/{name}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(name))
    return children
