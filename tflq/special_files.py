"""Pipes, devices and sockets: what can stand at the path of a file and never ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def refuse_special(path: Path) -> None:
    """Raise OSError if reading what is at the path might never end.

    The pipe of a shell, as in `tflq check <(command)`, has no path of its own and ends.
    """
    try:
        mode = Path(os.path.realpath(path)).stat().st_mode
    except (OSError, ValueError):  # whoever opens it tells of it
        return
    if kind := KINDS.get(stat.S_IFMT(mode)):
        raise OSError(errno.ENXIO, f"this is {kind}, and not a file", str(path))
