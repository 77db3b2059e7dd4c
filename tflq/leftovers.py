"""Folders and files of one process, and the removal of those that a killed process left behind.

Their names have the id of the process, its start in ticks since the boot, and a digest of the boot and of the
container. So neither a new process with the id of an old one, nor one of another machine, is taken for the owner.
Clocks do not matter, except for what another machine left: that is removed after a week.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from tflq.errors import RecipeError

RUN = "tflq-"
"""The start of the names of temporary folders in the place of the system."""
WEEK = 7 * 24 * 3600
_OWNER = re.compile(r"(\d+)(?:-([0-9a-f]+)-([0-9a-f]{4}))?(?:-[^-]*)?")


def owner() -> str:
    """Return the part of a name that tells this process from all others."""
    return f"{os.getpid()}-{_start(os.getpid()) or 0:x}-{_here()}"


def own_folder(prefix: str, folder: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder whose name tells its owner. The default place is that of the system."""
    return tempfile.TemporaryDirectory(prefix=f"{prefix}{owner()}-", dir=folder, ignore_cleanup_errors=True)


def run_folder() -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder in the place of the system, and remove those that killed processes left there.

    Raise RecipeError if none can be created.
    """
    try:
        clear_runs()
        return own_folder(RUN)
    except OSError as error:
        raise RecipeError(f"no temporary folder can be created: {error.strerror}; set TMPDIR to another") from error


def clear_runs() -> None:
    """Remove the temporary folders in the place of the system that killed processes left. OSError if it has none."""
    clear(Path(tempfile.gettempdir()), RUN)


def clear(folder: Path, prefix: str) -> None:
    """Remove the temporary folders and files with this prefix whose processes are gone."""
    for leftover in left_behind(folder, prefix):
        remove(leftover)


def left_behind(folder: Path, prefix: str) -> list[Path]:
    """Return the temporary folders and files with this prefix whose processes are gone."""
    try:
        found = sorted(path for path in folder.iterdir() if path.name.startswith(prefix))
    except OSError:  # whoever writes there tells of it
        return []
    names = [(path, _OWNER.fullmatch(path.name.removeprefix(prefix))) for path in found]
    return [path for path, name in names if name and _is_left_behind(path, *name.groups())]


def remove(leftover: Path) -> None:
    """Remove a file or a folder, as far as that is possible."""
    if leftover.is_dir():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        with suppress(OSError):
            leftover.unlink()


def _is_left_behind(leftover: Path, process: str, start: str | None, here: str | None) -> bool:
    """Return whether the owner is gone. A name without a start comes from an earlier version."""
    if here is not None and here != _here():
        try:
            return time.time() - leftover.stat().st_mtime > WEEK
        except OSError:
            return False
    if not is_running(int(process)):
        return True
    present = _start(int(process))
    return start is not None and present is not None and present != int(start, 16)


def is_running(process: int) -> bool:
    """Return whether there is a process with that id."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _start(process: int) -> int | None:
    """Return when the process started, in ticks since the boot; None if that cannot be read."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


@cache
def _here() -> str:
    """Return a digest of this boot of this machine, and of the container, whose process ids are its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        container = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot, container = "", ""
    return hashlib.sha256(f"{boot} {container}".encode()).hexdigest()[:4]
