"""The fork server: a process that imports TensorFlow once. Workers are forked from it."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
from functools import cache
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

from tflq import leftovers

MAX_FOLDER = 80
"""The largest number of bytes in the path of the folder of a socket, whose own path has 107 at most."""
_LOCK = threading.Lock()


def preload_tensorflow() -> None:
    """Let the fork server import TensorFlow in the background before the first worker is needed."""
    prepare_socket_folder()
    # each worker also imports the main script, which is the command line and imports click
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tflq.preload", "click"])
    resource_tracker.ensure_running()  # its start would let SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for this process alone
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@atexit.register
def kill_fork_server() -> None:
    """Kill the fork server when this process ends. Otherwise it would first finish the import."""
    process = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def prepare_socket_folder() -> None:
    """Let the socket of the fork server be in a folder that a later run removes if this process is killed.

    Raise RecipeError if none can be created.
    """
    with _LOCK:
        config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
        if not config.get("tempdir"):
            config["tempdir"] = _socket_folder().name


@cache
def _socket_folder() -> tempfile.TemporaryDirectory[str]:
    """Return the folder, which is removed when this process ends."""
    folder = leftovers.run_folder()
    if len(folder.name.encode()) > MAX_FOLDER:
        folder.cleanup()
        folder = leftovers.own_folder(leftovers.RUN, Path("/tmp"))
    return folder
