"""What the tasks of one run may take together, beyond the limit of each."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tflq.worker.control_groups import HERE, ControlGroups

if TYPE_CHECKING:
    import psutil

GB = 10**9


def processors(groups: ControlGroups = HERE) -> int:
    """How many processors this process may keep busy, at least 1.

    taskset or a batch system leave it some of the machine's, and a container may have a quota of their time.
    """
    allowed = len(os.sched_getaffinity(0))
    return min(allowed, groups.processors() or allowed)


@dataclass(frozen=True)
class Budget:
    """Seconds from the start to the end of a run, and memory of all its processes together; None where unlimited."""

    seconds: float | None = None
    memory_bytes: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    """Set from another thread, it ends the run with a CancelledError."""


class Spending:
    """A budget that is being spent."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._started = time.monotonic()

    def refuse_to_go_on(self) -> None:
        if self.budget.stop.is_set():
            raise CancelledError

    def time_is_up(self) -> str:
        """Why nothing may run any longer; empty where it may."""
        limit = self.budget.seconds
        if limit is None or time.monotonic() - self._started <= limit:
            return ""
        return (
            f"the {limit:g} s that this model may take in all were over, so it was stopped; --timeout raises the limit"
        )

    def too_large(self, processes: Iterable[int]) -> str:
        """Why the largest of those processes must end; empty where they may go on."""
        limit = self.budget.memory_bytes
        if limit is None:
            return ""
        total = sum(_rss_bytes(process) for process in processes)
        if total <= limit:
            return ""
        return (
            f"its processes took {total / GB:.2f} GB of memory, more than the {limit / GB:.2f} GB that this model may"
            " take, so it was stopped; --memory raises the limit"
        )


def largest(processes: Iterable[int]) -> int:
    """The position of the process that takes the most memory."""
    sizes = [_rss_bytes(process) for process in processes]
    return sizes.index(max(sizes))


def end(process: int) -> None:
    """Kill the process and those that it started, which would go on without it."""
    import psutil

    for one in _with_children(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def _rss_bytes(process: int) -> int:
    """Resident memory of a process and of those that it started; 0 where it has ended."""
    return sum(_of_one(one) for one in _with_children(process))


def _with_children(process: int) -> list[psutil.Process]:
    import psutil

    try:
        parent = psutil.Process(process)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _of_one(process: psutil.Process) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
