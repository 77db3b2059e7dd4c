"""The child's side: one task, its output in the log, its answer sent to the parent."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from tflq.errors import TflqError
from tflq.worker.messages import Progress, ProgressCallback, Raised, Returned, Task

ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "0",  # some float models die with SIGSEGV in oneDNN, and its sums depend on the machine
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "OPENBLAS_NUM_THREADS": "1",  # NumPy's threads wait by spinning, and take the cores from the other workers
}
REPORT_SECONDS = 0.2
ENDLESS = 10**9
"""A dataset that cannot be counted has as many rows as Python can count: from this total on, none is told."""
LONGEST = 500
"""Characters of an exception's message that are passed on; the log has it all."""


def work(outbox: Connection, log: Path, temporary: str, task: Task[Any]) -> None:
    """Run the task in this process, which must be a child's own, and end it.

    Temporary files, such as those of AutoGraph, go to that folder: whoever ends like this leaves them behind.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    _offer_to_be_killed_first()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _redirect(log)
    os.write(1, f"=== {task.stage}\n".encode())
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    tempfile.tempdir = os.environ["TMPDIR"] = temporary
    with _Answering(outbox, task):
        value = task.function(_reporter(outbox, task.stage), *task.arguments)
        outbox.send(Returned(value, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # TensorFlow's exit handlers can hang or crash, and nothing is left to do


def _redirect(log: Path) -> None:
    """Send all output to the log, that of C++ and the traceback of a crash included."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout, sys.stderr = (
        open(stream, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        for stream in (1, 2)
    )
    faulthandler.enable(sys.stderr)


def _offer_to_be_killed_first() -> None:
    """Where memory runs out, the kernel is to end a worker, and not the process that watches over all of them."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Answering:
    """Turns whatever is raised inside into a message to the parent; the traceback goes to the log."""

    def __init__(self, outbox: Connection, task: Task[Any]) -> None:
        self.outbox, self.task = outbox, task

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if raised is None:
            return False
        traceback.print_exception(kind, raised, trace)
        stage, make = self.task.stage, self.task.error
        error = raised if isinstance(raised, TflqError) else make(f"{stage}: {_told(raised)}")
        # tblib, which comes with Dask, pickles causes too, and to read them the parent would import TensorFlow
        error.__cause__ = error.__context__ = None
        self.outbox.send(Raised(error.with_traceback(None)))
        return True


def _told(raised: BaseException) -> str:
    text = " ".join(str(raised).split())
    said = f": {text[:LONGEST]}{' …' if len(text) > LONGEST else ''}" if text else ""
    return type(raised).__name__ + said


def _reporter(outbox: Connection, stage: str) -> ProgressCallback:
    last = 0.0

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last
        if done == total or time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            outbox.send(Progress(stage, done, total if total < ENDLESS else None, note))

    return report
