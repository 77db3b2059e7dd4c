"""Conversion on a Dask cluster, with one task per model. Models are isolated as on this machine.

Sources and data must have the same paths on the workers as here. If a worker sees the output folder, it writes the
files there. If it does not, the files are sent through the scheduler.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tflq import cache
from tflq.batch import local
from tflq.batch.attempt import ModelAttempt, ModelLimits, attempt, unexpected
from tflq.batch.cluster_client import connect
from tflq.batch.cluster_workers import ClusterWorkers, UnfitWorker, why_unfit
from tflq.batch.plan import PlannedModel
from tflq.errors import ClusterError, ConversionError, TflqError
from tflq.leftovers import run_folder
from tflq.pipeline import LOG, failed_writes, install
from tflq.recipe import Recipe, dump
from tflq.result import Result
from tflq.stages import file_name
from tflq.worker import Event, Finished, Listener, LogText, Progress, Started

if TYPE_CHECKING:
    import distributed

MARK = ".shared-"
KINDS = {"started": Started, "progress": Progress, "finished": Finished}


@dataclass(frozen=True)
class ClusterTask:
    """The task that is sent to a worker of the cluster."""

    name: str
    recipe: Recipe
    limits: ModelLimits
    token: str
    """The name of a file in the output folder. A worker sees this file if the folder is shared."""
    topic: str = ""
    """The Dask topic on which the worker reports its progress."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The packages of the process that sent the task. The worker needs the same."""
    files: tuple[Path, ...] = ()
    """The files that the worker reads."""


@dataclass(frozen=True)
class ClusterResult:
    """The result that a worker sends back; `files` has the output files if the output folder is not shared."""

    attempt: ModelAttempt
    files: Mapping[str, bytes] | None


Answer: TypeAlias = "ClusterResult | ClusterError | distributed.Future"
"""The result of a task; the reason why there is none; or the future of a task that raised an error."""


def run(
    planned: Sequence[PlannedModel],
    limits: ModelLimits,
    address: str,
    listen: local.Listen,
    note: Callable[[str], None],
) -> Iterator[tuple[PlannedModel, ModelAttempt]]:
    """Yield each planned model with its attempt, in the order in which they end.

    When a worker dies, Dask counts this against every task that was assigned to the worker, also the ones that did not
    run. So a model with too many dead workers is tried once more, alone.
    """
    token = f"{MARK}{uuid.uuid4().hex}"
    with ExitStack() as stack:
        client = stack.enter_context(connect(address, limits.jobs, stack))
        client.subscribe_topic(
            token, partial(_forward, {planned_model.name: planned_model for planned_model in planned}, listen)
        )
        for planned_model in planned:
            stack.callback(_mark(planned_model.recipe.output, token).unlink, missing_ok=True)
        submission = _Submission(ClusterWorkers(client, note), limits, token, address)
        submission.workers.compare_versions()
        suspects = []
        for planned_model, answer in submission.completed(planned):
            if _is_killed(answer):
                suspects.append(planned_model)
            else:
                yield planned_model, _received(planned_model.recipe, answer)
        for suspect in suspects:
            yield from (
                (planned_model, _received(planned_model.recipe, answer))
                for planned_model, answer in submission.completed([suspect])
            )


@dataclass(frozen=True)
class _Submission:
    """Sends models to workers of the cluster."""

    workers: ClusterWorkers
    limits: ModelLimits
    token: str
    address: str

    def completed(self, planned: Sequence[PlannedModel]) -> Iterator[tuple[PlannedModel, Answer]]:
        """Yield each model with its answer.

        A model that came to a worker without its files goes to another worker.
        """
        from distributed import as_completed

        futures: dict[distributed.Future, PlannedModel] = {}
        waiting, completed = deque(planned), as_completed()
        try:
            while waiting or futures:
                while waiting:
                    planned_model = waiting.popleft()
                    try:
                        future = self._submit(planned_model)
                    except ClusterError as error:
                        yield planned_model, error
                        continue
                    futures[future] = planned_model
                    completed.add(future)
                if futures:
                    future = next(completed)
                    planned_model = futures.pop(future)
                    answer = self._answer(future)
                    if isinstance(answer, UnfitWorker):
                        self.workers.add(answer)  # no other model goes to this worker
                        waiting.append(planned_model)
                    else:
                        yield planned_model, answer
        finally:
            self.workers.client.cancel(list(futures))

    def _answer(self, future: distributed.Future) -> Answer | UnfitWorker:
        """Return the answer of a task that has ended.

        The result is received from the scheduler, which may be lost by then.
        """
        from distributed.comm import CommClosedError

        lost = ClusterError(
            f"the Dask scheduler at {self.address} was lost, so this model was not converted: run the batch again"
        )
        if future.status != "finished":
            return lost if future.cancelled() and self.workers.client.status != "running" else future
        try:
            result: ClusterResult | UnfitWorker = future.result()
        except (CommClosedError, CancelledError):
            return lost
        return result

    def _submit(self, planned_model: PlannedModel) -> distributed.Future:
        recipe = planned_model.recipe
        read = (recipe.output / file.path for file in planned_model.build_inputs.files)
        files = tuple(Path(os.path.normpath(file.absolute())) for file in (recipe.model.path, *read))
        task = ClusterTask(
            planned_model.name, recipe, self.limits, self.token, self.token, cache.versions(trains=False), files
        )
        key, chosen = f"{planned_model.name}-{uuid.uuid4().hex}", self.workers.chosen()
        return self.workers.client.submit(make, task, key=key, pure=False, workers=chosen)


def _is_killed(answer: Answer) -> bool:
    from distributed import Future, KilledWorker

    return isinstance(answer, Future) and isinstance(answer.exception(), KilledWorker)


def _mark(output: Path, token: str) -> Path:
    """Create the file by which a worker finds out whether it sees the same folder."""
    with contextlib.suppress(OSError):  # the conversion itself reports a folder that cannot be written
        output.mkdir(parents=True, exist_ok=True)
        for old_mark in output.glob(f"{MARK}*"):
            old_mark.unlink(missing_ok=True)
        (output / token).touch()
    return output / token


def _forward(
    planned: Mapping[str, PlannedModel], listen: local.Listen, message: tuple[float, Mapping[str, Any]]
) -> None:
    """Pass an event of a worker on to the listener."""
    _, event = message
    planned_model, kind = planned[event["model"]], KINDS.get(event["kind"])
    listen(planned_model, kind(**event["fields"]) if kind else None)


def make(task: ClusterTask) -> ClusterResult | UnfitWorker:
    """Run the task in a thread of a Dask worker. The thread waits for its own worker processes."""
    from distributed import get_worker

    multiprocessing.current_process().daemon = False  # a daemonic process of Dask could not have children
    worker = get_worker()
    if reason := why_unfit(task.versions, task.files):
        return UnfitWorker(worker.address, reason)
    worker.log_event(task.topic, {"model": task.name, "kind": "began"})
    free = min(local.available_bytes(), worker.memory_manager.memory_limit or sys.maxsize)
    memory_bytes = task.limits.memory_bytes or free // worker.state.nthreads
    limits = replace(task.limits, memory_bytes=memory_bytes, jobs=1)  # each thread of Dask counts as one processor

    def listen(event: Event) -> None:
        if not isinstance(event, LogText):
            kind = type(event).__name__.lower()
            worker.log_event(task.topic, {"model": task.name, "kind": kind, "fields": vars(event)})

    return run_task(replace(task, limits=limits), listen)


def run_task(task: ClusterTask, listen: Listener) -> ClusterResult:
    """Convert the model in its output folder; if this machine does not see it, in a temporary folder."""
    stop = threading.Event()
    if (task.recipe.output / task.token).exists():
        return ClusterResult(attempt(task.recipe, task.limits, listen, stop), None)
    with run_folder() as folder:
        recipe = task.recipe.model_copy(update={"output": Path(folder)})
        done = attempt(recipe, task.limits, listen, stop)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}
        return ClusterResult(replace(done, outcome=_relocated(done.outcome, folder, task.recipe)), files)


def _relocated(outcome: Result | TflqError, folder: str, recipe: Recipe) -> Result | TflqError:
    """Replace the temporary folder in the outcome by the output folder of the recipe."""
    if isinstance(outcome, TflqError):
        return _renamed(outcome, folder, recipe)
    variants = [replace(v, error=v.error and _renamed(v.error, folder, recipe)) for v in outcome.variants]
    return replace(outcome, recipe=dump(recipe, recipe.output), variants=tuple(variants))


def _renamed(error: TflqError, folder: str, recipe: Recipe) -> TflqError:
    error.args = (str(error).replace(folder, str(recipe.output)),)
    return error


def _received(recipe: Recipe, answer: Answer) -> ModelAttempt:
    """Return the attempt of the worker, and install its files if it sent any."""
    if isinstance(answer, ClusterError):
        return ModelAttempt(answer, 0.0)
    return _installed(recipe, answer) if isinstance(answer, ClusterResult) else _failed(recipe, answer)


def _failed(recipe: Recipe, future: distributed.Future) -> ModelAttempt:
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        text = f"every worker of the cluster that ran this model died, at last {error.last_worker.address}"
        return ModelAttempt(ConversionError(f"{text}; the model was given up"), 0.0)
    if isinstance(error, CancelledError):
        return ModelAttempt(ConversionError(f"the cluster cancelled the task of this model: {error}"), 0.0)
    if isinstance(error, ImportError):
        return ModelAttempt(ClusterError(f"a worker of the cluster lacks a package or a module: {error}"), 0.0)
    return unexpected(recipe, error)


def _installed(recipe: Recipe, result: ClusterResult) -> ModelAttempt:
    try:
        if result.files is not None:
            install_files(recipe, result)
    except TflqError as install_error:
        return replace(result.attempt, outcome=install_error)
    return result.attempt


def install_files(recipe: Recipe, result: ClusterResult) -> None:
    """Install the files of the worker in the output folder. Each file is written whole or not at all."""
    files = result.files or {}
    with cache.workspace(recipe.output) as folder:
        with failed_writes(recipe, folder):
            for name, content in files.items():
                (folder / name).write_bytes(content)
            if LOG in files:
                (folder / LOG).replace(recipe.output / LOG)
        outcome = result.attempt.outcome
        if isinstance(outcome, Result):
            names = {variant.name: file_name(recipe, variant.name) for variant in outcome.variants}
            install(outcome, recipe, {v: folder / n if n in files else None for v, n in names.items()}, folder)
