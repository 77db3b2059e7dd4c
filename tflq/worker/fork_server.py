"""The fork server: a process that has imported TensorFlow once, and from which workers are forked."""

from __future__ import annotations

import multiprocessing


def preload_tensorflow() -> None:
    """Let the fork server import TensorFlow, beside whatever happens until the first worker is needed."""
    # each worker imports the main script too, which is the command line, and so click
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tflq.preload", "click"])
    multiprocessing.forkserver.ensure_running()  # type: ignore[attr-defined]
