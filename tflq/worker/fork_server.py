"""The fork server: a process that imports TensorFlow once. Workers are forked from it."""

from __future__ import annotations

import multiprocessing


def preload_tensorflow() -> None:
    """Let the fork server import TensorFlow in the background before the first worker is needed."""
    # each worker also imports the main script, which is the command line and imports click
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tflq.preload", "click"])
    multiprocessing.forkserver.ensure_running()  # type: ignore[attr-defined]
