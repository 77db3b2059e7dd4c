"""The processors and the memory that control groups of Linux, and so containers, leave to this process.

Version 2 has one tree of groups with all controllers. Version 1 has one tree per controller. The limits of a group
apply to all groups below it. Inside a container, the group of the process often appears as the root of the tree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ControlGroups:
    """The folder and the file in which the system shows all groups and the groups of this process."""

    root: Path = Path("/sys/fs/cgroup")
    process: Path = Path("/proc/self/cgroup")

    def processors(self) -> int | None:
        """Return the quota of processor time as a number of processors, rounded up; None if there is no quota."""
        return min((quota for folder in self._folders("cpu") if (quota := _quota(folder))), default=None)

    def free_bytes(self) -> int | None:
        """Return the bytes of memory that are left; None if there is no limit."""
        return min((free for folder in self._folders("memory") if (free := _free(folder)) is not None), default=None)

    def _folders(self, controller: str) -> Iterator[Path]:
        """Yield the folders that may limit the controller, from the process's own group to the root."""
        yield from (self.root, self.root / controller)
        for line in _text(self.process).splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "" or controller in controllers.split(","):
                tree = self.root / controller if controllers else self.root
                own = tree / path.lstrip("/")
                yield from (folder for folder in (own, *own.parents) if tree in folder.parents)


def _quota(folder: Path) -> int | None:
    text = _text(folder / "cpu.max") or " ".join(_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    quota, period = (*map(_number, text.split()), None, None)[:2]
    return math.ceil(quota / period) if quota and period else None


def _free(folder: Path) -> int | None:
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        limit_bytes, used_bytes = _number(_text(folder / limit)), _number(_text(folder / used))
        if limit_bytes is not None and used_bytes is not None:
            return max(0, limit_bytes - used_bytes)
    return None


def _number(text: str) -> int | None:
    """Return the number, or None for "max" and -1, which mean no limit."""
    return int(text) if text.strip().isdecimal() else None


def _text(file: Path) -> str:
    """Return the content of the file, or an empty text if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


HERE = ControlGroups()
"""The control groups of this process."""
