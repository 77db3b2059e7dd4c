"""The parent's side of a worker process: start it, check whether it is alive, and describe how it ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tflq.worker.budget import kill
from tflq.worker.child import work
from tflq.worker.messages import RaisedError, ReturnedValue, Task

POLL_SECONDS = 0.2
_FORK_SERVER = multiprocessing.get_context("forkserver")
_SPAWN = multiprocessing.get_context("spawn")
_PROCESS_LOCK = threading.Lock()
"""The lock for starting and polling processes. A start polls all processes, and an exit code can be read only once."""


@dataclass(eq=False)
class RunningTask:
    """A task, the process that runs it, and what that process has sent so far."""

    task: Task[Any]
    position: int
    process: BaseProcess
    inbox: Connection
    started: float
    answer: ReturnedValue | RaisedError | None = None
    is_cut_off: bool = False
    stopped: str = ""
    """Why the parent stopped the process; empty if it did not."""

    @property
    def is_silent(self) -> bool:
        """Whether the parent may still stop the process."""
        return self.answer is None and not self.is_cut_off and not self.stopped

    def stop(self, reason: str) -> None:
        """Kill the process for that reason."""
        self.stopped = reason
        kill(self.process.pid or 0)


def start(task: Task[Any], position: int, log: Path, temporary: str) -> RunningTask:
    """Start the task in a new process. `temporary` is the folder for its temporary files."""
    context = _SPAWN if task.environment else _FORK_SERVER
    inbox, outbox = context.Pipe(duplex=False)
    process: BaseProcess = context.Process(target=work, args=(outbox, log, temporary, task), daemon=False)
    with _PROCESS_LOCK, _environment(task.environment):
        process.start()
    outbox.close()
    return RunningTask(task, position, process, inbox, time.monotonic())


def wait_for(process: BaseProcess) -> None:
    """Return when the process has ended."""
    while is_alive(process):
        wait([process.sentinel], POLL_SECONDS)


def is_alive(process: BaseProcess) -> bool:
    with _PROCESS_LOCK:
        return process.is_alive()


def describe_exit(exit_code: int) -> str:
    """Return why a process ended with that exit code and without a result."""
    if exit_code == -signal.SIGKILL:
        return "the worker process was killed (SIGKILL); the usual cause is that memory ran out"
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"the worker process crashed with {name}; the log's last lines are the best clue to the cause"
    return f"the worker process ended by itself, with exit code {exit_code} and no result"


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set the variables while a process starts, because its first imports may read them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
