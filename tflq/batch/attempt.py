"""One model made, wherever that happens: here, or on a worker of a cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tflq import errors
from tflq.cache import default_store
from tflq.errors import ConversionError, EvaluationError, TflqError
from tflq.pipeline import LOG, Settings, run
from tflq.recipe import Recipe
from tflq.result import Result, Variant
from tflq.stages import file_name
from tflq.worker import Budget, Event

REPORTS = ("report.json", "report.md", "recipe.yaml")
Tell = Callable[[Event], None]


@dataclass(frozen=True)
class ModelLimits:
    """What one model may take."""

    seconds: float | None
    memory_bytes: int | None
    jobs: int
    """Worker processes at a time."""
    retries: int
    """Further attempts where one died or met a limit."""


@dataclass(frozen=True)
class ModelAttempt:
    """What came of a model: a result, with its files in the output folder, or the error that left none."""

    outcome: Result | TflqError
    seconds: float

    @property
    def again(self) -> str:
        """What failed in a way that another run may mend."""
        if isinstance(self.outcome, TflqError):
            return str(self.outcome)
        failed = [variant for variant in self.outcome.variants if _may_be_mended(variant)]
        return f"{failed[0].name}: {failed[0].error}" if failed else ""


def attempt(recipe: Recipe, limits: ModelLimits, tell: Tell, stop: threading.Event) -> ModelAttempt:
    """Make the recipe's variants, again where a worker died; ends with a CancelledError once `stop` is set."""
    started = time.monotonic()
    outcome = _try(recipe, limits, tell, stop)
    for _ in range(limits.retries):
        if not _may_pass(outcome):
            break
        outcome = _try(recipe, limits, tell, stop)
    return ModelAttempt(outcome, time.monotonic() - started)


def _try(recipe: Recipe, limits: ModelLimits, tell: Tell, stop: threading.Event) -> Result | TflqError:
    budget = Budget(limits.seconds, limits.memory_bytes, stop)
    settings = Settings(jobs=limits.jobs, listen=tell, budget=budget, store=default_store())
    try:
        return run(recipe, settings)
    except TflqError as error:
        return error


def _may_pass(outcome: Result | TflqError) -> bool:
    errors = [outcome] if isinstance(outcome, TflqError) else [variant.error for variant in outcome.variants]
    return any(error.may_pass for error in errors if error)


def made(recipe: Recipe, result: Result) -> list[str]:
    """The files that the result stands for."""
    return [*(file_name(recipe, variant.name) for variant in result.variants if variant.file), *REPORTS]


def _may_be_mended(variant: Variant) -> bool:
    """A gate that failed, a broken contract, what TensorFlow refuses or LiteRT cannot run: only inputs change those."""
    error = variant.error
    return error is not None and (error.may_pass or not isinstance(error, (ConversionError, EvaluationError)))


def unexpected(recipe: Recipe, error: BaseException) -> ModelAttempt:
    """What an exception that tflq did not foresee makes of a model; its traceback goes to the model's log."""
    return ModelAttempt(errors.unexpected(error, recipe.output / LOG), 0.0)
