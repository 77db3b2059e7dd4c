"""Conversion on this machine. Each model has a thread, which waits for worker processes and survives their crashes.

The worker processes come from one fork server, so TensorFlow is imported once for all models. They go from model to
model.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from tflq.batch.attempt import ModelAttempt, ModelLimits, attempt, unexpected
from tflq.batch.plan import PlannedModel
from tflq.worker import HERE, ControlGroups, Event, WorkerPool, preload_tensorflow

MIN_BYTES = 2 * 10**9
"""The memory that a model of moderate size needs; it limits how many models run at a time."""
Listen = Callable[[PlannedModel, Event | None], None]
"""Receives the events of one model; None means that the model began."""


def share(jobs: int, memory_bytes: int | None) -> tuple[int, int]:
    """Return how many models may run at a time, at most `jobs`, and the memory limit of each in bytes.

    By default, the limits add up to the free memory at most.
    """
    free = available_bytes()
    models = max(1, min(jobs, free // (memory_bytes or MIN_BYTES)))
    return models, memory_bytes or free // models


def available_bytes(groups: ControlGroups = HERE) -> int:
    """Return the memory for new processes in bytes: the free memory of the machine or of this container."""
    import psutil

    free, left = int(psutil.virtual_memory().available), groups.free_bytes()
    return free if left is None else min(free, left)


def run(
    planned: Sequence[PlannedModel], limits: ModelLimits, jobs: int, listen: Listen
) -> Iterator[tuple[PlannedModel, ModelAttempt]]:
    """Yield each model with its attempt, in the order in which they end. If the generator is closed, stop all."""
    preload_tensorflow()
    stop, waiting = threading.Event(), deque(planned)
    running: dict[Future[ModelAttempt], PlannedModel] = {}
    with WorkerPool() as pool, ThreadPoolExecutor(jobs) as executor:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    planned_model = waiting.popleft()
                    convert = partial(attempt, planned_model.recipe, limits, partial(listen, planned_model), stop, pool)
                    running[executor.submit(_make, planned_model, listen, convert)] = planned_model
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    error, planned_model = future.exception(), running.pop(future)
                    yield planned_model, unexpected(planned_model.recipe, error) if error else future.result()
        finally:
            stop.set()


def _make(planned_model: PlannedModel, listen: Listen, convert: Callable[[], ModelAttempt]) -> ModelAttempt:
    listen(planned_model, None)
    return convert()
