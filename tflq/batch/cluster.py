"""Models made on a Dask cluster: the same function as on this machine, and isolated in the same way, a task a model.

Sources and data must have the same paths on the workers as here. Files are written into the output folder where a
worker sees it, and are sent through the scheduler where it does not.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflq import cache
from tflq.batch import local
from tflq.batch.attempt import ModelAttempt, ModelLimits, attempt, unexpected
from tflq.batch.plan import Work
from tflq.errors import ConversionError, RecipeError, TflqError
from tflq.pipeline import LOG, install
from tflq.recipe import Recipe, dump
from tflq.result import Result
from tflq.stages import file_name
from tflq.worker import Event, Finished, Progress, Said, Started

if TYPE_CHECKING:
    import distributed

SECONDS_TO_CONNECT = 20
MARK = ".shared-"
KINDS = {"started": Started, "progress": Progress, "finished": Finished}


@dataclass(frozen=True)
class Parcel:
    """What goes to a worker."""

    name: str
    recipe: Recipe
    limits: ModelLimits
    token: str
    """A file in the output folder, which a worker sees where that folder is shared."""
    topic: str
    """Where the worker tells how it goes."""


@dataclass(frozen=True)
class Delivery:
    """What comes back: where the output folder is not shared, with the files that belong there."""

    attempt: ModelAttempt
    files: Mapping[str, bytes] | None


def run(
    works: Sequence[Work], limits: ModelLimits, address: str, listen: local.Listen
) -> Iterator[tuple[Work, ModelAttempt]]:
    """Each work with what came of it, as they end.

    When a worker dies, Dask holds all tasks against it that the worker had or was about to have. So a work under which
    too many workers died has a second chance, alone.
    """
    token = f"{MARK}{uuid.uuid4().hex}"
    with ExitStack() as stack:
        client = stack.enter_context(_client(address, limits.jobs, stack))
        client.subscribe_topic(token, partial(_hear, {work.name: work for work in works}, listen))
        for work in works:
            stack.callback(_mark(work.recipe.output, token).unlink, missing_ok=True)
        suspects = []
        for work, future in _ended(client, works, limits, token):
            if _is_killed(future):
                suspects.append(work)
            else:
                yield work, _received(work.recipe, future)
        for suspect in suspects:
            yield from (
                (work, _received(work.recipe, future)) for work, future in _ended(client, [suspect], limits, token)
            )


def _ended(
    client: distributed.Client, works: Sequence[Work], limits: ModelLimits, token: str
) -> Iterator[tuple[Work, distributed.Future]]:
    from distributed import as_completed

    futures = {}
    for work in works:
        parcel = Parcel(work.name, work.recipe, limits, token, token)
        futures[client.submit(make, parcel, key=f"{work.name}-{uuid.uuid4().hex}", pure=False)] = work
    try:
        for future in as_completed(list(futures)):
            yield futures.pop(future), future
    finally:
        client.cancel(list(futures))


def _is_killed(future: distributed.Future) -> bool:
    from distributed import KilledWorker

    return isinstance(future.exception(), KilledWorker)


def _client(address: str, jobs: int, stack: ExitStack) -> distributed.Client:
    try:
        import distributed
    except ImportError as error:
        raise RecipeError("--scheduler needs Dask: pip install tflq[dask]") from error
    try:
        if address == "local":
            cluster = distributed.LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None)
            return distributed.Client(stack.enter_context(cluster))
        return distributed.Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise RecipeError(f"--scheduler {address}: no Dask scheduler answers there: {error}") from error


def _mark(output: Path, token: str) -> Path:
    """A file by which a worker tells whether it sees the same folder."""
    with contextlib.suppress(OSError):  # a folder that cannot be written to is told of when the model is made
        output.mkdir(parents=True, exist_ok=True)
        for left in output.glob(f"{MARK}*"):
            left.unlink(missing_ok=True)
        (output / token).touch()
    return output / token


def _hear(works: Mapping[str, Work], listen: local.Listen, told: tuple[float, Mapping[str, Any]]) -> None:
    _, said = told
    work, kind = works[said["model"]], KINDS.get(said["kind"])
    listen(work, kind(**said["fields"]) if kind else None)


def make(parcel: Parcel) -> Delivery:
    """What runs on a worker of the cluster; a thread there, which waits for processes of its own."""
    from distributed import get_worker

    multiprocessing.current_process().daemon = False  # Dask's own processes may have no children otherwise
    worker = get_worker()
    worker.log_event(parcel.topic, {"model": parcel.name, "kind": "began"})
    free = min(local.available_bytes(), worker.memory_manager.memory_limit or sys.maxsize)
    memory_bytes = parcel.limits.memory_bytes or free // worker.state.nthreads
    limits = replace(parcel.limits, memory_bytes=memory_bytes, jobs=1)  # a thread of Dask's stands for a processor

    def tell(event: Event) -> None:
        if not isinstance(event, Said):
            kind = type(event).__name__.lower()
            worker.log_event(parcel.topic, {"model": parcel.name, "kind": kind, "fields": vars(event)})

    return deliver(replace(parcel, limits=limits), tell)


def deliver(parcel: Parcel, tell: Callable[[Event], None]) -> Delivery:
    """Make the model in its output folder, or in one of this machine's own, from which the files are sent."""
    stop = threading.Event()
    if (parcel.recipe.output / parcel.token).exists():
        return Delivery(attempt(parcel.recipe, parcel.limits, tell, stop), None)
    with tempfile.TemporaryDirectory() as folder:
        own = parcel.recipe.model_copy(update={"output": Path(folder)})
        done = attempt(own, parcel.limits, tell, stop)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}
        return Delivery(replace(done, outcome=_at_home(done.outcome, folder, parcel.recipe)), files)


def _at_home(outcome: Result | TflqError, folder: str, recipe: Recipe) -> Result | TflqError:
    """The outcome as if it had been made in the recipe's own output folder."""
    if isinstance(outcome, TflqError):
        return _renamed(outcome, folder, recipe)
    variants = [replace(v, error=v.error and _renamed(v.error, folder, recipe)) for v in outcome.variants]
    return replace(outcome, recipe=dump(recipe, recipe.output), variants=tuple(variants))


def _renamed(error: TflqError, folder: str, recipe: Recipe) -> TflqError:
    error.args = (str(error).replace(folder, str(recipe.output)),)
    return error


def _received(recipe: Recipe, future: distributed.Future) -> ModelAttempt:
    """What the worker made, its files installed if it sent them."""
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        said = f"a worker of the cluster died of it each time, last {error.last_worker.address}, so it was set aside"
        return ModelAttempt(ConversionError(said), 0.0)
    if isinstance(error, CancelledError):
        return ModelAttempt(ConversionError(f"the cluster lost it: {error}"), 0.0)
    if error is not None:
        return unexpected(recipe, error)
    delivery: Delivery = future.result()
    try:
        if delivery.files is not None:
            unpack(recipe, delivery)
    except RecipeError as fault:
        return replace(delivery.attempt, outcome=fault)
    return delivery.attempt


def unpack(recipe: Recipe, delivery: Delivery) -> None:
    """Install the files that were sent in the output folder, each whole."""
    sent = delivery.files or {}
    with cache.workspace(recipe.output) as folder:
        for name, content in sent.items():
            (folder / name).write_bytes(content)
        if LOG in sent:
            (folder / LOG).replace(recipe.output / LOG)
        result = delivery.attempt.outcome
        if isinstance(result, Result):
            names = {variant.name: file_name(recipe, variant.name) for variant in result.variants}
            install(result, recipe, {v: folder / n if n in sent else None for v, n in names.items()}, folder)
