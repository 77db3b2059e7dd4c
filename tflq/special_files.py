"""Pipes, devices and sockets: what can stand at the path of a file and never ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def special_kind(path: Path) -> str:
    """Return what is at the path if reading it might never end; empty for all else.

    The pipe of a shell, as in `tflq check <(command)`, has no path of its own and ends.
    """
    try:
        mode = Path(os.path.realpath(path)).stat().st_mode
    except (OSError, ValueError):
        return ""
    return KINDS.get(stat.S_IFMT(mode), "")
