"""Atomic writes of files, and the temporary folder of a run."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tflq import leftovers
from tflq.cache import installation
from tflq.errors import RecipeError

_PREFIX = ".work-"


def write(path: Path, text: str) -> None:
    """Write the text to the file, completely or not at all.

    A link, a pipe or a device, such as /dev/stdout, is written to and not replaced. OSError, with the path, if it
    cannot be written.
    """
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        else:
            _replace(path, text)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _replace(path: Path, text: str) -> None:
    prefix = f".{path.name}."
    leftovers.clear(path.parent, prefix)
    temporary = path.with_name(f"{prefix}{leftovers.owner()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def workspace(output: Path) -> Iterator[Path]:
    """Create a temporary folder inside the output folder, from which files can be renamed into place.

    Raise RecipeError if the output folder cannot be created.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"{output}: this folder cannot be created: {error.strerror}") from error
    clear_workspaces(output)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{leftovers.owner()}-", dir=output))
    except OSError as error:
        raise RecipeError(f"{output}: nothing can be written into this folder: {error.strerror}") from error
    try:
        yield folder
    finally:
        if installation.finish(folder):
            shutil.rmtree(folder, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """Make `target` a second name of the file, or a copy if its file system has no such names.

    So neither file may be changed in place later. They may be replaced or removed.
    """
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def clear_workspaces(output: Path) -> None:
    """Remove the temporary folders in the output folder that killed processes left.

    Before that, finish the installation of files that a kill stopped. So the folder has the files of one run.
    """
    for folder in leftovers.left_behind(output, _PREFIX):
        if installation.finish(folder):
            leftovers.remove(folder)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C inside the context, for example while files that belong together are renamed."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)  # None: the handler was not set by Python
