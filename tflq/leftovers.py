"""Folders of one process, and the removal of those that a killed process left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def own_folder(prefix: str, folder: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder whose name has the id of this process. The default place is that of the system."""
    return tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", dir=folder, ignore_cleanup_errors=True)


def clear(folder: Path, prefix: str) -> None:
    """Remove the temporary folders with this prefix whose processes are gone."""
    for leftover in folder.glob(f"{prefix}*"):
        process = leftover.name.removeprefix(prefix).split("-")[0]
        if process.isdecimal() and not is_running(int(process)):
            shutil.rmtree(leftover, ignore_errors=True)


def is_running(process: int) -> bool:
    """Return whether there is a process with that id."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
