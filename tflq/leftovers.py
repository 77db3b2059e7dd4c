"""Folders and files of one process, and the removal of those that a killed process left behind.

Their names have the id of the process, its start in ticks since the boot, and digests of the machine, of its boot and
of the container. So neither a new process with the id of an old one, nor one of another machine, is taken for the
owner. Clocks do not matter, except for what another machine or container left: that is removed after a week.
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
_OWNER = re.compile(r"(\d+)(?:-([0-9a-f]+)-([0-9a-f]{4}|[0-9a-f]{16}))?(?:-[^-]*)?")

_MACHINE, _PART = 8, 4
"""The lengths of the digests of the machine, and of the boot and the container, in a name."""


def owner() -> str:
    """Return the part of a name that tells this process from all others."""
    return f"{os.getpid()}-{_start(os.getpid()) or 0:x}-{_place()}"


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


def _is_left_behind(leftover: Path, process: str, start: str | None, place: str | None) -> bool:
    """Return whether the owner is gone. A name without a start comes from an earlier version."""
    if place is not None and place != _place():
        if _is_of_an_earlier_boot(place):
            return True
        try:
            return time.time() - leftover.stat().st_mtime > WEEK
        except OSError:
            return False
    if not is_running(int(process)):
        return True
    present = _start(int(process))
    return start is not None and present is not None and present != int(start, 16)


def _is_of_an_earlier_boot(place: str) -> bool:
    """Return whether the place is on this machine, but not of this boot. No process of it is running."""
    boot = slice(_MACHINE, _MACHINE + _PART)
    return place[:_MACHINE] == _place()[:_MACHINE] and place[boot] != _place()[boot]


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
def _place() -> str:
    """Return digests of this machine, of its boot, and of the container, whose process ids are its own.

    Containers and clones may have the machine id of another, so the digest of the machine has its host name, too. A
    machine without an id is another one after each boot.
    """
    boot, container = _text("/proc/sys/kernel/random/boot_id"), ""
    with suppress(OSError):
        container = str(Path("/proc/self/ns/pid").readlink())
    machine = _text("/etc/machine-id") or boot if boot else ""
    return _digest(f"{machine} {os.uname().nodename}", _MACHINE) + _digest(boot, _PART) + _digest(container, _PART)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]
