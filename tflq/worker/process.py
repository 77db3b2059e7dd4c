"""The parent's side of one worker process: to start it, to ask whether it is alive, and to tell how it ended."""

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

from tflq.worker.budget import end
from tflq.worker.child import work
from tflq.worker.messages import Raised, Returned, Task

POLL_SECONDS = 0.2
_FORK_SERVER = multiprocessing.get_context("forkserver")
_SPAWN = multiprocessing.get_context("spawn")
_ASKING = threading.Lock()
"""Held to start a process, too, which asks after all the others: an exit code can be read once, by one thread."""


@dataclass
class RunningTask:
    """A task, the process that runs it, and what that process has sent so far."""

    task: Task[Any]
    position: int
    process: BaseProcess
    inbox: Connection
    started: float
    answer: Returned | Raised | None = None
    is_cut_off: bool = False
    stopped: str = ""
    """Why it was ended from here."""

    @property
    def is_silent(self) -> bool:
        """Whether it can still be ended from here."""
        return self.answer is None and not self.is_cut_off and not self.stopped

    def stop(self, why: str) -> None:
        self.stopped = why
        end(self.process.pid or 0)


def start(task: Task[Any], position: int, log: Path, temporary: str) -> RunningTask:
    """Start the task in a new process; `temporary` is the folder of its temporary files."""
    context = _SPAWN if task.environment else _FORK_SERVER
    inbox, outbox = context.Pipe(duplex=False)
    process: BaseProcess = context.Process(target=work, args=(outbox, log, temporary, task), daemon=False)
    with _ASKING, _environment(task.environment):
        process.start()
    outbox.close()
    return RunningTask(task, position, process, inbox, time.monotonic())


def wait_for(process: BaseProcess) -> None:
    """Return when the process has ended."""
    while is_alive(process):
        wait([process.sentinel], POLL_SECONDS)


def is_alive(process: BaseProcess) -> bool:
    with _ASKING:
        return process.is_alive()


def cause_of_death(exit_code: int) -> str:
    """Why a process ended with that exit code and without a result."""
    if exit_code == -signal.SIGKILL:
        return "the worker process was killed (SIGKILL); the usual cause is that memory ran out"
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"the worker process crashed with {name}; the log's last lines are the best clue to the cause"
    return f"the worker process ended by itself, with exit code {exit_code} and no result"


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set them for the process that starts meanwhile: what it imports first may read them."""
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
