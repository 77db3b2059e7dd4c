"""run(recipe) → Result: the straight line from a recipe to checked and measured files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tflq import cache, trainer
from tflq.errors import RecipeError, TflqError
from tflq.evaluate import Plan
from tflq.findings import Evidence, conclude
from tflq.job import Draft, Job, file_name
from tflq.recipe import Recipe, check_source, dump
from tflq.report.machine import to_json
from tflq.report.page import to_markdown
from tflq.result import Result, Run, Stage
from tflq.worker import Event, Finished, Listener, Workers, preload_tensorflow

LOG = "tflq.log"


@dataclass(frozen=True)
class Settings:
    """How to run, where the recipe says what to run."""

    timeout: float | None = None
    """Seconds that one stage may take."""
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Worker processes at a time."""
    listen: Listener = lambda _: None


def run(recipe: Recipe, settings: Settings = Settings(), file: Path | None = None) -> Result:
    """Make, check and measure the recipe's variants, and install them in its output folder.

    With `file`, measure that .tflite instead, and install nothing. Raises SourceError, DatasetError or ConversionError
    where nothing can be made or measured at all; whatever concerns one variant is in its row of the result.
    """
    if file is None:
        check_source(recipe)
    else:
        recipe.model.check()
    if file is not None and not file.is_file():
        raise RecipeError(f"{file}: there is no such file")
    preload_tensorflow()
    clock = _Clock(settings.listen)
    with cache.workspace(recipe.output) as folder, _workers(recipe, settings, clock) as workers:
        job = Job(recipe, folder, workers, settings.jobs)
        source = job.prepare_source()
        probe = job.choose_samples(source)
        float32 = job.make_float32(source)
        calibration = None if file else job.gather_calibration(source)
        trained = None if file else trainer.train(recipe, source, folder, workers)
        drafts = [Draft(None, file.name, file)] if file else job.convert(source, calibration, trained)
        drafts = job.weigh(job.try_out(job.verify(drafts, source), probe, source))
        plan = Plan(recipe.measured_on, recipe.inputs, source, float32.path, probe.arrays, files={})
        drafts, base = job.measure(drafts, probe, plan)
        original = base if isinstance(base, TflqError) else job.measure_source(probe, plan)
        drafts = job.time(drafts, probe)
        evidence = Evidence(recipe, plan, probe, float32, base, original, calibration, trained)
        result = conclude(evidence, drafts, Run(clock.seconds, workers.peak_rss_bytes, tuple(clock.stages)))
        if file is None:
            _install(result, recipe, drafts, folder)
            _forget_checkpoint(recipe, drafts)
    return result


def _workers(recipe: Recipe, settings: Settings, clock: _Clock) -> Workers:
    log = recipe.output / LOG
    log.unlink(missing_ok=True)
    return Workers(log, settings.timeout, clock.listen)


class _Clock:
    """Passes events on, and keeps how long each stage took."""

    def __init__(self, listen: Listener) -> None:
        self._listen, self._started = listen, time.monotonic()
        self.stages: list[Stage] = []

    def listen(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.stages.append(Stage(event.stage, event.seconds))
        self._listen(event)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


def _install(result: Result, recipe: Recipe, drafts: Sequence[Draft], folder: Path) -> None:
    """Put the files and their reports into the output folder, each whole; what could not be made leaves no old file."""
    texts = {
        "recipe.yaml": dump(recipe, recipe.output),
        "report.json": to_json(result),
        "report.md": to_markdown(result),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for draft in drafts:
        target = recipe.output / file_name(recipe, draft.name)
        if draft.path:
            draft.path.replace(target)
        else:
            target.unlink(missing_ok=True)
    for name in texts:
        (folder / name).replace(recipe.output / name)


def _forget_checkpoint(recipe: Recipe, drafts: Sequence[Draft]) -> None:
    """Remove it once it is of no more use: there is no training, or all that it led to was made."""
    trained = [draft.path for draft in drafts if draft.variant and draft.variant.trained]
    if recipe.training is None or (trained and all(trained)):
        shutil.rmtree(recipe.output / trainer.CHECKPOINT, ignore_errors=True)
