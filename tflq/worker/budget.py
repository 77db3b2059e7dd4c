"""Limits of time and memory for all tasks of a run together."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tflq.worker.control_groups import HERE, ControlGroups
from tflq.worker.memory import MemoryWatch

if TYPE_CHECKING:
    import psutil

GB = 10**9


def processors(groups: ControlGroups = HERE) -> int:
    """Return the number of processors that this process may use, at least 1.

    taskset or a batch system may restrict the process to some processors. A container may have a quota of their time.
    """
    available = len(os.sched_getaffinity(0))
    return min(available, groups.processors() or available)


@dataclass(frozen=True)
class Budget:
    """The limits of a run in seconds, and of all its processes together in bytes of memory. None means no limit."""

    seconds: float | None = None
    memory_bytes: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    """If another thread sets this event, the run ends with a CancelledError."""


class BudgetUse:
    """A budget and the time when its run started."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._started = time.monotonic()
        self._memory = MemoryWatch()

    def raise_if_stopped(self) -> None:
        """Raise CancelledError if another thread has stopped the run."""
        if self.budget.stop.is_set():
            raise CancelledError

    def time_exceeded(self) -> str:
        """Return why the run must end, or an empty text if it has time left."""
        limit = self.budget.seconds
        if limit is None or time.monotonic() - self._started <= limit:
            return ""
        return f"this model took longer than its limit of {limit:g} s, so it was stopped; --timeout raises the limit"

    def memory_exceeded(self, processes: Sequence[int]) -> tuple[int, str] | None:
        """Return the position of the largest process and why it must end; None if memory is within the limit."""
        limit = self.budget.memory_bytes
        if limit is None or not processes:
            return None
        sizes = [self._memory.rss_bytes(process) for process in processes]
        total = sum(sizes)
        if total <= limit:
            return None
        return sizes.index(max(sizes)), (
            f"its processes took {total / GB:.2f} GB of memory, more than the limit of {limit / GB:.2f} GB for this"
            " model, so it was stopped; --memory raises the limit"
        )


def kill(process: int) -> None:
    """Kill the process and its children, which would otherwise go on."""
    import psutil

    for member in _with_children(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def _with_children(process: int) -> list[psutil.Process]:
    import psutil

    try:
        parent = psutil.Process(process)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
