"""The run of a batch: stale models are converted, and the summary lists the outcome of all models.

The stages are imported only if a model is stale, since their import takes longer than the plan.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tflq import leftovers
from tflq.batch.events import BatchNote, BatchPlanned, Listener, ModelFinished, ModelProgress, ModelStarted
from tflq.batch.places import with_places
from tflq.batch.plan import PlannedModel, Planner
from tflq.batch.summary import BatchSummary, Model, failed, from_report
from tflq.batch.zoo import Batch
from tflq.errors import RecipeError, TflqError
from tflq.worker import Event, processors

if TYPE_CHECKING:
    from tflq.batch.attempt import ModelAttempt


@dataclass(frozen=True)
class BatchOptions:
    """The options of a batch. They do not change the files that are written."""

    jobs: int
    """The number of models at a time."""
    seconds: float | None = None
    """The time limit of one model; None means no limit."""
    memory_bytes: int | None = None
    """The memory limit of one model; None means an equal share of the free memory."""
    retries: int = 0
    force: bool = False
    fail_fast: bool = False
    scheduler: str | None = None
    """The address of a Dask scheduler, or `local` for a cluster on this machine."""


def plan(batch: Batch, force: bool) -> list[PlannedModel | Model]:
    """Return a planned model for each item, in the same order, or a failed model if the recipe is wrong."""
    planned = {planned_model.name: planned_model for planned_model in Planner().plan(batch.items, force)}
    return [
        failed(item.name, item.recipe) if isinstance(item.recipe, RecipeError) else planned[item.name]
        for item in batch.items
    ]


def make(batch: Batch, options: BatchOptions, listen: Listener) -> BatchSummary:
    """Convert all stale models and return the summary of all models. A failed model does not stop the others."""
    started = time.monotonic()
    done: dict[str, Model] = {}
    items = {item.name: item for item in batch.items}
    was_interrupted = False
    try:
        with closing(_models(batch, options, listen)) as outcomes:
            for outcome in outcomes:
                model = with_places(outcome, items[outcome.name])
                done[model.name] = model
                listen(ModelFinished(model))
                if options.fail_fast and model.exit_code and model.state != "up to date":
                    break
    except KeyboardInterrupt:
        was_interrupted = True
    not_reached = "the batch was interrupted" if was_interrupted else "another model failed, and --fail-fast was given"
    models = [done.get(item.name) or Model(item.name, "not reached", not_reached, 0) for item in batch.items]
    return BatchSummary(tuple(models), time.monotonic() - started, was_interrupted=was_interrupted)


def _models(batch: Batch, options: BatchOptions, listen: Listener) -> Generator[Model, None, None]:
    planner = Planner()
    with suppress(OSError):  # if a model is stale, its run tells of this
        leftovers.clear_runs()
    planned = planner.plan(batch.items, options.force)
    stale = [planned_model for planned_model in planned if planned_model.why]
    listen(BatchPlanned(len(batch.items), len(stale)))
    yield from (failed(item.name, item.recipe) for item in batch.items if isinstance(item.recipe, RecipeError))
    yield from (
        from_report(planned_model.name, "up to date", "", planned_model.recipe.output)
        for planned_model in planned
        if not planned_model.why
    )
    if stale:
        for planned_model, attempt in _attempts(stale, options, listen):
            yield _settled(planner, planned_model, attempt)


def _attempts(
    planned: Sequence[PlannedModel], options: BatchOptions, listen: Listener
) -> Iterator[tuple[PlannedModel, ModelAttempt]]:
    from tflq.batch import cluster, local
    from tflq.batch.attempt import ModelLimits

    def forward(planned_model: PlannedModel, event: Event | None) -> None:
        listen(
            ModelStarted(planned_model.name, planned_model.why)
            if event is None
            else ModelProgress(planned_model.name, event)
        )

    if options.scheduler:
        limits = ModelLimits(options.seconds, options.memory_bytes, options.jobs, options.retries)
        return cluster.run(planned, limits, options.scheduler, forward, lambda text: listen(BatchNote(text)))
    jobs, memory_bytes = local.share(min(options.jobs, len(planned)), options.memory_bytes)
    limits = ModelLimits(options.seconds, memory_bytes, max(1, processors() // jobs), options.retries)
    return local.run(planned, limits, jobs, forward)


def _settled(planner: Planner, planned_model: PlannedModel, attempt: ModelAttempt) -> Model:
    """Write the stamp of the output folder, and return the model with its outcome."""
    from tflq.batch.attempt import output_names

    if isinstance(attempt.outcome, TflqError):
        return failed(planned_model.name, attempt.outcome, planned_model.recipe.output, attempt.seconds)
    try:
        planner.settle(planned_model, output_names(planned_model.recipe, attempt.outcome), attempt.retry_reason)
        model = from_report(planned_model.name, "made", planned_model.why, planned_model.recipe.output)
    except OSError as error:
        path = error.filename or planned_model.recipe.output
        file_error = RecipeError(f"{path}: the file cannot be read or written: {error.strerror}")
        return failed(planned_model.name, file_error, planned_model.recipe.output, attempt.seconds)
    return replace(model, state="failed", why=attempt.retry_reason) if attempt.retry_reason else model
