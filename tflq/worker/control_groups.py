"""What control groups of Linux, and so containers, leave to this process: processors and memory.

Version 2 has one tree of groups with all controllers, version 1 a tree for each. The limits of a group hold for all
groups below it. Inside a container the group of the process is often shown as the root of the tree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ControlGroups:
    """Where the system shows the groups, and those that this process is in."""

    root: Path = Path("/sys/fs/cgroup")
    process: Path = Path("/proc/self/cgroup")

    def processors(self) -> int | None:
        """The processors that the quota of time is worth, rounded up; None if there is no quota."""
        return min((quota for folder in self._folders("cpu") if (quota := _quota(folder))), default=None)

    def free_bytes(self) -> int | None:
        """The memory that is left; None if there is no limit."""
        return min((free for folder in self._folders("memory") if (free := _free(folder)) is not None), default=None)

    def _folders(self, controller: str) -> Iterator[Path]:
        """The folders of the process's groups, from its own to the root, that may have limits of the controller."""
        yield from (self.root, self.root / controller)
        for line in _text(self.process).splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "" or controller in controllers.split(","):
                tree = self.root / controller if controllers else self.root
                own = tree / path.lstrip("/")
                yield from (folder for folder in (own, *own.parents) if tree in folder.parents)


def _quota(folder: Path) -> int | None:
    together = _text(folder / "cpu.max") or " ".join(
        _text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")
    )
    quota, period = (*map(_number, together.split()), None, None)[:2]
    return math.ceil(quota / period) if quota and period else None


def _free(folder: Path) -> int | None:
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        most, now = _number(_text(folder / limit)), _number(_text(folder / used))
        if most is not None and now is not None:
            return max(0, most - now)
    return None


def _number(text: str) -> int | None:
    """Of "max" and -1, which are no limits, None."""
    return int(text) if text.strip().isdecimal() else None


def _text(file: Path) -> str:
    """What the file says; nothing if it cannot be read, as where there are no such groups."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


HERE = ControlGroups()
"""Those of this process."""
