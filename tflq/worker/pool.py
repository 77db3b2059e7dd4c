"""Worker processes that wait for their next task, so that not every task needs a new process."""

from __future__ import annotations

import threading
from typing import Any

from typing_extensions import Self

from tflq.worker.messages import Done
from tflq.worker.process import WorkerProcess

READY_SECONDS = 5.0
"""The longest time that a process may take to free the memory of its last task."""


class WorkerPool:
    """Idle worker processes. Several threads may share a pool, and a process may go from run to run."""

    def __init__(self) -> None:
        self.known: dict[str, Done[Any]] = {}
        """The outcomes of tasks that have no arguments, by their stages. They are the same in every run."""
        self._idle: list[WorkerProcess] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes of the pool."""
        while worker := self._pop():
            worker.end()

    def take(self) -> WorkerProcess | None:
        """Return a process that can run a task, or None if there is none. It is no longer in the pool."""
        while worker := self._pop():
            if worker.is_ready(READY_SECONDS):
                return worker
            worker.end()
        return None

    def put(self, worker: WorkerProcess) -> None:
        """Keep the process for another task."""
        with self._lock:
            self._idle.append(worker)

    def _pop(self) -> WorkerProcess | None:
        with self._lock:
            return self._idle.pop() if self._idle else None
