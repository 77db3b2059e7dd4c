"""The run of a batch: each model that is not up to date is made, and the summary says what became of all."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from tflq.batch import cluster, local
from tflq.batch.attempt import Attempt, Limits, made
from tflq.batch.events import Began, Ended, Heard, Listener, Planned
from tflq.batch.plan import Planner, Work
from tflq.batch.summary import Model, Summary, failed, from_report
from tflq.batch.zoo import Batch
from tflq.errors import RecipeError, TflqError
from tflq.worker import Event, processors


@dataclass(frozen=True)
class Orders:
    """How to make a batch, where its recipes say what."""

    jobs: int
    """Models at a time."""
    seconds: float | None = None
    """That one model may take."""
    memory_bytes: int | None = None
    """That one model may take; by default its share of what the machine has."""
    retries: int = 0
    force: bool = False
    fail_fast: bool = False
    scheduler: str | None = None
    """A Dask scheduler's address, or `local` for one on this machine."""


def plan(batch: Batch, force: bool) -> list[Work | Model]:
    """For each item, in order, what is to be made and why; what is wrong with its recipe as a failed model."""
    works = {work.name: work for work in Planner().plan(batch.items, force)}
    return [
        failed(item.name, item.recipe) if isinstance(item.recipe, RecipeError) else works[item.name]
        for item in batch.items
    ]


def make(batch: Batch, orders: Orders, listen: Listener) -> Summary:
    """Make what is not up to date; a model that fails is a row of the summary, and does not keep others from it."""
    started = time.monotonic()
    done: dict[str, Model] = {}
    was_interrupted = False
    try:
        with closing(_models(batch, orders, listen)) as models:
            for model in models:
                done[model.name] = model
                listen(Ended(model))
                if orders.fail_fast and model.exit_code and model.state != "up to date":
                    break
    except KeyboardInterrupt:
        was_interrupted = True
    not_reached = "the batch was interrupted" if was_interrupted else "another model failed, and --fail-fast was given"
    every = [done.get(item.name) or Model(item.name, "not reached", not_reached, 0) for item in batch.items]
    return Summary(tuple(every), time.monotonic() - started, was_interrupted=was_interrupted)


def _models(batch: Batch, orders: Orders, listen: Listener) -> Generator[Model, None, None]:
    planner = Planner()
    works = planner.plan(batch.items, orders.force)
    stale = [work for work in works if work.why]
    listen(Planned(len(batch.items), len(stale)))
    yield from (failed(item.name, item.recipe) for item in batch.items if isinstance(item.recipe, RecipeError))
    yield from (from_report(work.name, "up to date", "", work.recipe.output) for work in works if not work.why)
    if stale:
        for work, attempt in _attempts(stale, orders, listen):
            yield _settled(planner, work, attempt)


def _attempts(works: Sequence[Work], orders: Orders, listen: Listener) -> Iterator[tuple[Work, Attempt]]:
    def tell(work: Work, event: Event | None) -> None:
        listen(Began(work.name, work.why) if event is None else Heard(work.name, event))

    if orders.scheduler:
        limits = Limits(orders.seconds, orders.memory_bytes, orders.jobs, orders.retries)
        return cluster.run(works, limits, orders.scheduler, tell)
    jobs, memory_bytes = local.share(min(orders.jobs, len(works)), orders.memory_bytes)
    limits = Limits(orders.seconds, memory_bytes, max(1, processors() // jobs), orders.retries)
    return local.run(works, limits, jobs, tell)


def _settled(planner: Planner, work: Work, attempt: Attempt) -> Model:
    """The model that the attempt yields, its output folder stamped."""
    if isinstance(attempt.outcome, TflqError):
        return failed(work.name, attempt.outcome, work.recipe.output, attempt.seconds)
    try:
        planner.settle(work, made(work.recipe, attempt.outcome), attempt.again)
        model = from_report(work.name, "made", work.why, work.recipe.output)
    except OSError as error:
        fault = RecipeError(f"{error.filename or work.recipe.output}: cannot be read or written: {error.strerror}")
        return failed(work.name, fault, work.recipe.output, attempt.seconds)
    return replace(model, state="failed", why=attempt.again) if attempt.again else model
