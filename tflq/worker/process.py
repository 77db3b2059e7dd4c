"""The parent's side of a worker process: start it, check whether it is alive, and describe how it ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

from tflq.worker.budget import kill
from tflq.worker.child import work
from tflq.worker.fork_server import prepare_socket_folder
from tflq.worker.messages import (
    BackgroundTask,
    OwnProcessNeeded,
    RaisedError,
    ReadyForTask,
    ReturnedValue,
    Task,
    TaskSurroundings,
)

POLL_SECONDS = 0.2
END_SECONDS = 5.0
"""The longest time that a process without a task may take to end."""
_FORK_SERVER = multiprocessing.get_context("forkserver")
_SPAWN = multiprocessing.get_context("spawn")
_PROCESS_LOCK = threading.Lock()
"""The lock for starting and polling processes. A start polls all processes, and an exit code can be read only once."""


@dataclass(eq=False)
class WorkerProcess:
    """A process that runs tasks one after another, and the connections with it."""

    process: BaseProcess
    inbox: Connection
    outbox: Connection
    tasks: int = 0
    """The number of tasks that were sent to it."""

    def send(self, task: Task[Any], surroundings: TaskSurroundings) -> None:
        """Send the task. If the process has died, its exit code will tell."""
        pickled = ForkingPickler.dumps(task)
        self.tasks += 1
        with contextlib.suppress(OSError):
            self.outbox.send(surroundings)
            self.outbox.send_bytes(pickled)

    def is_ready(self, seconds: float) -> bool:
        """Return whether the process can run another task; wait for that time at most."""
        try:
            return self.inbox.poll(seconds) and isinstance(self.inbox.recv(), ReadyForTask)
        except (EOFError, OSError):
            return False

    def end(self) -> None:
        """Let the process end by itself, or kill it if it takes too long. Return when it has ended."""
        self.outbox.close()
        if not wait([self.process.sentinel], END_SECONDS):
            kill(self.process.pid or 0)
        wait_for(self.process)
        self.inbox.close()


@dataclass(eq=False)
class RunningTask:
    """A task, the process that runs it, and what that process has sent so far."""

    task: Task[Any]
    position: int
    worker: WorkerProcess
    started: float
    background: BackgroundTask[Any] | None
    """The task in the background that it runs; None if it runs another task, of that position."""
    answer: ReturnedValue | RaisedError | OwnProcessNeeded | None = None
    is_cut_off: bool = False
    stopped: str = ""
    """Why the parent stopped the process; empty if it did not."""

    @property
    def is_silent(self) -> bool:
        """Whether the parent may still stop the process."""
        return self.answer is None and not self.is_cut_off and not self.stopped

    @property
    def has_crashed_after_others(self) -> bool:
        """Whether the process died in this task, but ran others before, which may be the cause."""
        return self.answer is None and not self.stopped and self.worker.tasks > 1

    def stop(self, reason: str) -> None:
        """Kill the process for that reason."""
        self.stopped = reason
        kill(self.worker.process.pid or 0)


def start(environment: Mapping[str, str]) -> WorkerProcess:
    """Start a new process. With an environment, it is not forked, and it imports everything again."""
    prepare_socket_folder()
    context = _SPAWN if environment else _FORK_SERVER
    inbox, child_outbox = context.Pipe(duplex=False)
    child_inbox, outbox = context.Pipe(duplex=False)
    process: BaseProcess = context.Process(target=work, args=(child_inbox, child_outbox), daemon=False)
    with _PROCESS_LOCK, _environment(environment):
        process.start()
    child_inbox.close()
    child_outbox.close()
    return WorkerProcess(process, inbox, outbox)


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
