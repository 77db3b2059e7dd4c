"""Models made on this machine: a thread each, which waits for worker processes and can therefore not die of them.

The worker processes come from one fork server, so TensorFlow is imported once for all models.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from tflq.batch.attempt import ModelAttempt, ModelLimits, attempt, unexpected
from tflq.batch.plan import Work
from tflq.worker import HERE, ControlGroups, Event, preload_tensorflow

LEAST_BYTES = 2 * 10**9
"""What a model of some size takes, so that no more models are started at a time than memory allows."""
Listen = Callable[[Work, Event | None], None]
"""Hears what happens to a work; nothing stands for its beginning."""


def share(jobs: int, memory_bytes: int | None) -> tuple[int, int]:
    """How many models may be made at a time, and the bytes that each may take: together never more than there are."""
    free = available_bytes()
    able = max(1, min(jobs, free // (memory_bytes or LEAST_BYTES)))
    return able, memory_bytes or free // able


def available_bytes(groups: ControlGroups = HERE) -> int:
    """Memory that new processes can have: the machine's, or what is left to this container."""
    import psutil

    free, left = int(psutil.virtual_memory().available), groups.free_bytes()
    return free if left is None else min(free, left)


def run(works: Sequence[Work], limits: ModelLimits, jobs: int, listen: Listen) -> Iterator[tuple[Work, ModelAttempt]]:
    """Each work with what came of it, as they end; leaving the iteration ends those that are under way."""
    preload_tensorflow()
    stop, waiting = threading.Event(), deque(works)
    running: dict[Future[ModelAttempt], Work] = {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    work = waiting.popleft()
                    running[pool.submit(_make, work, limits, listen, stop)] = work
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    error, work = future.exception(), running.pop(future)
                    yield work, unexpected(work.recipe, error) if error else future.result()
        finally:
            stop.set()


def _make(work: Work, limits: ModelLimits, listen: Listen, stop: threading.Event) -> ModelAttempt:
    listen(work, None)
    return attempt(work.recipe, limits, partial(listen, work), stop)
