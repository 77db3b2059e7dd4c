"""The child process: run one task, write its output to the log, and send its answer to the parent."""

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
from tflq.worker.messages import Progress, ProgressCallback, RaisedError, ReturnedValue, Task

ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN crashes with some float models, and its sums depend on the machine
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "OPENBLAS_NUM_THREADS": "1",  # idle threads of NumPy spin and take processor time from other workers
}
REPORT_SECONDS = 0.2
ENDLESS = 10**9
"""A dataset of unknown length has a huge total. From this value on, progress has no total."""
MAX_LENGTH = 500
"""An error contains at most this number of characters of an exception's message. The log has all of it."""


def work(outbox: Connection, log: Path, temporary: str, task: Task[Any]) -> None:
    """Run the task in this process, which must be a child of its own, and end the process.

    `temporary` is the folder for temporary files, such as those of AutoGraph. The parent removes it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    _raise_oom_score()
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _redirect(log)
    os.write(1, f"=== {task.stage}\n".encode())
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    tempfile.tempdir = os.environ["TMPDIR"] = temporary
    with _ErrorsSent(outbox, task):
        value = task.function(_reporter(outbox, task.stage), *task.arguments)
        outbox.send(ReturnedValue(value, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the exit handlers of TensorFlow can hang or crash


def _redirect(log: Path) -> None:
    """Send all output to the log, also that of C++ and the traceback of a crash."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout, sys.stderr = (
        open(stream, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        for stream in (1, 2)
    )
    faulthandler.enable(sys.stderr)


def _raise_oom_score() -> None:
    """Let the kernel kill a worker first if memory runs out, and not the process that supervises the workers."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _ErrorsSent:
    """A context that sends any exception to the parent as an error, and writes its traceback to the log."""

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
        stage, error_type = self.task.stage, self.task.error
        error = raised if isinstance(raised, TflqError) else error_type(f"{stage}: {_summary(raised)}")
        # tblib, a part of Dask, also pickles causes, and the parent would import TensorFlow to read them
        error.__cause__ = error.__context__ = None
        self.outbox.send(RaisedError(error.with_traceback(None)))
        return True


def _summary(raised: BaseException) -> str:
    text = " ".join(str(raised).split())
    message = f": {text[:MAX_LENGTH]}{' …' if len(text) > MAX_LENGTH else ''}" if text else ""
    return type(raised).__name__ + message


def _reporter(outbox: Connection, stage: str) -> ProgressCallback:
    last = 0.0

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last
        if done == total or time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            outbox.send(Progress(stage, done, total if total < ENDLESS else None, note))

    return report
