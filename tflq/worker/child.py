"""The child process: run tasks one after another, write their output to the log, and send answers to the parent."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from tflq.errors import TflqError
from tflq.worker.disk import disk_full_error
from tflq.worker.memory import private_bytes, reset_peak
from tflq.worker.messages import (
    OwnProcessNeeded,
    Progress,
    ProgressCallback,
    RaisedError,
    ReadyForTask,
    ReturnedValue,
    Task,
    TaskSurroundings,
)

ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN crashes with some float models, and its sums depend on the machine
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "OPENBLAS_NUM_THREADS": "1",  # idle threads of NumPy spin and take processor time from other workers
}
REPORT_SECONDS = 0.2
ENDLESS = 10**9
"""A dataset of unknown length has a huge total. From this value on, progress has no total."""
MAX_GROWTH_BYTES = 150 * 10**6
"""A process that has grown by this many bytes runs no other task, so that memory which tasks leave does not add up."""
GROWTH_WITH_GARBAGE_BYTES = 20 * 10**6
"""A process that has grown by this many bytes collects garbage before it waits for its next task."""
MAX_LENGTH = 500
"""An error contains at most this number of characters of an exception's message. The log has all of it."""


class NeedsOwnProcess(BaseException):
    """Ends a task that must be the first one of its process; the parent starts it again in a new one."""


@dataclass
class _ProcessHistory:
    """The history of the tasks in this process."""

    has_run: bool = False
    """Whether a task has run before the present one."""
    is_last: bool = False
    """Whether the present task is the last one."""


_HISTORY = _ProcessHistory()


def require_own_process() -> None:
    """Let no other task run before or after the present one in its process.

    Code that may change the state of its process, or that depends on it, calls this first. If another task ran before,
    the present one ends here and starts again in a new process. Outside a worker, this has no effect.
    """
    if _HISTORY.has_run:
        raise NeedsOwnProcess
    _HISTORY.is_last = True


def work(inbox: Connection, outbox: Connection) -> None:
    """Run the tasks that the parent sends, one after another, in this process, which must be a child of its own.

    End the process if the parent closes the connection, if a task needs the process for itself, or if it has grown.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    _raise_oom_score()
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    first_bytes = private_bytes()
    while _run_next(inbox, outbox) and _growth_without_garbage(first_bytes) < MAX_GROWTH_BYTES:
        with contextlib.suppress(BrokenPipeError):  # the parent needs no other task
            outbox.send(ReadyForTask())
    os._exit(0)  # the exit handlers of TensorFlow can hang or crash


def _run_next(inbox: Connection, outbox: Connection) -> bool:
    """Run the next task and send its answer. Return whether the process may run another one."""
    try:
        surroundings: TaskSurroundings = inbox.recv()
        pickled = inbox.recv_bytes()
    except (EOFError, OSError):
        return False
    _redirect(surroundings.log)
    with contextlib.suppress(OSError):  # the disk may be full
        os.write(1, surroundings.heading.encode("utf-8", "backslashreplace"))
    tempfile.tempdir = os.environ["TMPDIR"] = surroundings.temporary
    reset_peak()
    _answer(pickle.loads(pickled), outbox)
    _HISTORY.has_run = True
    return not _HISTORY.is_last


def _growth_without_garbage(first_bytes: int) -> int:
    """Return by how many bytes this process has grown. Garbage is collected only if that is much: it takes time."""
    growth = private_bytes() - first_bytes
    if growth < GROWTH_WITH_GARBAGE_BYTES:
        return growth
    gc.collect()
    return private_bytes() - first_bytes


def _answer(task: Task[Any], outbox: Connection) -> None:
    try:
        with _ErrorsSent(outbox, task):
            value = task.function(_reporter(outbox, task.stage), *task.arguments)
            _flush()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            outbox.send(ReturnedValue(value, peak, _HISTORY.is_last))
    except NeedsOwnProcess:
        outbox.send(OwnProcessNeeded())


def _flush() -> None:
    """Write all output to the log before the answer is sent, since the parent then reads the log."""
    sys.stdout.flush()
    sys.stderr.flush()


def _redirect(log: Path) -> None:
    """Send all output to the log, also that of C++ and the traceback of a crash. On a full disk it is lost."""
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
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
        if raised is None or isinstance(raised, NeedsOwnProcess):
            return False
        with contextlib.suppress(OSError):
            traceback.print_exception(kind, raised, trace)
            _flush()
        stage, error_type = self.task.stage, self.task.error
        own = raised if isinstance(raised, TflqError) else error_type(f"{stage}: {_summary(raised)}")
        error = disk_full_error(raised, stage) or own
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
