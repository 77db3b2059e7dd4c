"""The run of a batch: each model that is not up to date is made, and the summary says what became of all."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from tflq.batch import cluster, local
from tflq.batch.attempt import ModelAttempt, ModelLimits, made
from tflq.batch.events import BatchPlanned, Listener, ModelFinished, ModelProgress, ModelStarted
from tflq.batch.plan import Planner, Work
from tflq.batch.summary import BatchSummary, Model, failed, from_report
from tflq.batch.zoo import Batch
from tflq.errors import RecipeError, TflqError
from tflq.worker import Event, processors


@dataclass(frozen=True)
class BatchOptions:
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


def make(batch: Batch, options: BatchOptions, listen: Listener) -> BatchSummary:
    """Make what is not up to date; a model that fails is a row of the summary, and does not keep others from it."""
    started = time.monotonic()
    done: dict[str, Model] = {}
    was_interrupted = False
    try:
        with closing(_models(batch, options, listen)) as models:
            for model in models:
                done[model.name] = model
                listen(ModelFinished(model))
                if options.fail_fast and model.exit_code and model.state != "up to date":
                    break
    except KeyboardInterrupt:
        was_interrupted = True
    not_reached = "the batch was interrupted" if was_interrupted else "another model failed, and --fail-fast was given"
    every = [done.get(item.name) or Model(item.name, "not reached", not_reached, 0) for item in batch.items]
    return BatchSummary(tuple(every), time.monotonic() - started, was_interrupted=was_interrupted)


def _models(batch: Batch, options: BatchOptions, listen: Listener) -> Generator[Model, None, None]:
    planner = Planner()
    works = planner.plan(batch.items, options.force)
    stale = [work for work in works if work.why]
    listen(BatchPlanned(len(batch.items), len(stale)))
    yield from (failed(item.name, item.recipe) for item in batch.items if isinstance(item.recipe, RecipeError))
    yield from (from_report(work.name, "up to date", "", work.recipe.output) for work in works if not work.why)
    if stale:
        for work, attempt in _attempts(stale, options, listen):
            yield _settled(planner, work, attempt)


def _attempts(works: Sequence[Work], options: BatchOptions, listen: Listener) -> Iterator[tuple[Work, ModelAttempt]]:
    def tell(work: Work, event: Event | None) -> None:
        listen(ModelStarted(work.name, work.why) if event is None else ModelProgress(work.name, event))

    if options.scheduler:
        limits = ModelLimits(options.seconds, options.memory_bytes, options.jobs, options.retries)
        return cluster.run(works, limits, options.scheduler, tell)
    jobs, memory_bytes = local.share(min(options.jobs, len(works)), options.memory_bytes)
    limits = ModelLimits(options.seconds, memory_bytes, max(1, processors() // jobs), options.retries)
    return local.run(works, limits, jobs, tell)


def _settled(planner: Planner, work: Work, attempt: ModelAttempt) -> Model:
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
