"""The conversion of one model, with its limits and retries, on this machine or on a worker of a cluster."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from tflq import errors
from tflq.cache import default_store
from tflq.errors import ConversionError, EvaluationError, TflqError
from tflq.pipeline import LOG, PAGE, Settings, run
from tflq.recipe import Recipe
from tflq.result import Result, Variant
from tflq.stages import file_name
from tflq.worker import Budget, Listener, WorkerPool

REPORTS = ("report.json", "report.md", PAGE, "recipe.yaml")


@dataclass(frozen=True)
class ModelLimits:
    """The limits of one model; None means no limit."""

    seconds: float | None
    memory_bytes: int | None
    jobs: int
    """The number of worker processes at a time."""
    retries: int
    """The number of further attempts if a process died or met a limit."""


@dataclass(frozen=True)
class ModelAttempt:
    """The outcome of a model: a result, with its files in the output folder, or an error without files."""

    outcome: Result | TflqError
    seconds: float

    @property
    def retry_reason(self) -> str:
        """The failure for which the next batch should try again; empty if another try cannot help."""
        if isinstance(self.outcome, TflqError):
            return str(self.outcome)
        failed = [variant for variant in self.outcome.variants if _is_worth_a_retry(variant)]
        return f"{failed[0].name}: {failed[0].error}" if failed else ""


def attempt(
    recipe: Recipe, limits: ModelLimits, listen: Listener, stop: threading.Event, pool: WorkerPool | None = None
) -> ModelAttempt:
    """Convert the variants of the recipe, and retry if a worker died or met a limit.

    `pool` has idle worker processes, if several models share them.

    Raise CancelledError when `stop` is set.
    """
    started = time.monotonic()
    budget = Budget(limits.seconds, limits.memory_bytes, stop)
    settings = Settings(jobs=limits.jobs, listen=listen, budget=budget, store=default_store(), pool=pool)
    outcome = _try(recipe, settings)
    for _ in range(limits.retries):
        if not _may_pass(outcome):
            break
        outcome = _try(recipe, settings)
    return ModelAttempt(outcome, time.monotonic() - started)


def _try(recipe: Recipe, settings: Settings) -> Result | TflqError:
    try:
        return run(recipe, settings)
    except TflqError as error:
        return error


def _may_pass(outcome: Result | TflqError) -> bool:
    errors = [outcome] if isinstance(outcome, TflqError) else [variant.error for variant in outcome.variants]
    return any(error.may_pass for error in errors if error)


def output_names(recipe: Recipe, result: Result) -> list[str]:
    """Return the names of the files that the result left in the output folder."""
    made = [variant for variant in result.variants if variant.file]
    sources = (name for variant in made for name in variant.artifacts)
    return [*(file_name(recipe, variant.name) for variant in made), *sources, *REPORTS]


def _is_worth_a_retry(variant: Variant) -> bool:
    """Failed gates, broken contracts and errors of the conversion or evaluation change only if the inputs change."""
    error = variant.error
    return error is not None and (error.may_pass or not isinstance(error, (ConversionError, EvaluationError)))


def unexpected(recipe: Recipe, error: BaseException) -> ModelAttempt:
    """Return the failed attempt for an unexpected exception, and write its traceback to the log of the model."""
    return ModelAttempt(errors.unexpected(error, recipe.output / LOG), 0.0)
