"""run(recipe) → Result: the straight line from a recipe to checked and measured files."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tflq import cache, trainer
from tflq.cache import Store
from tflq.errors import RecipeError
from tflq.findings import Evidence, conclude
from tflq.job import Draft, Judge, Maker, Shelf, Source, file_name, make, with_trained
from tflq.recipe import Recipe, check_source, dump
from tflq.report.machine import to_json
from tflq.report.page import to_markdown
from tflq.result import Result, Run, Stage
from tflq.worker import Budget, Event, Finished, Listener, Workers, preload_tensorflow, processors

LOG = "tflq.log"


@dataclass(frozen=True)
class Settings:
    """How to run, where the recipe says what to run."""

    timeout: float | None = None
    """Seconds that one stage may take."""
    jobs: int = field(default_factory=processors)
    """Worker processes at a time."""
    listen: Listener = lambda _: None
    budget: Budget = field(default_factory=Budget)
    """What all stages may take together."""
    verifies_reproducible: bool = False
    """Make every file twice and compare them; not those of trained models, and not a file that was given."""
    store: Store | None = None
    """What is kept between runs; None keeps nothing."""


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
        shelf = Shelf(recipe, settings.store if recipe.keeps else None)
        means = (recipe, folder, workers, settings.jobs, shelf)
        maker, judge = Maker(*means), Judge(*means)
        source = maker.prepare()
        begun = maker.begin(source, makes_variants=file is None)
        calibrations = maker.calibrate(source, begun)
        drafts = [Draft(None, file.name, file)] if file else maker.convert(source, begun, calibrations)
        if settings.verifies_reproducible and file is None:
            drafts = _made_again(drafts, Maker(recipe, folder / "again", workers, 2 * settings.jobs, Shelf(recipe)))
        trained = None if file else trainer.train(recipe, source.prepared, folder, workers)
        drafts = judge.verify(with_trained(drafts, maker, source, trained), source.prepared)
        drafts = judge.weigh(judge.try_out(drafts, begun.probe, source.prepared))
        plan = judge.plan(source.prepared, begun)
        drafts, base, original = judge.measure(drafts, begun.probe, plan)
        drafts = judge.time(drafts, begun.probe)
        notes = (*_notes(source), *shelf.notes, *_not_checked(drafts, settings))
        evidence = Evidence(recipe, plan, begun, base, original, calibrations, notes, trained)
        result = conclude(evidence, drafts, Run(clock.seconds, workers.peak_rss_bytes, tuple(clock.stages)))
        if file is None:
            with cache.uninterrupted():
                install(result, recipe, {draft.name: draft.path for draft in drafts}, folder)
            _forget_checkpoint(recipe, drafts)
    return result


def _made_again(drafts: Sequence[Draft], maker: Maker) -> list[Draft]:
    """The drafts, each told whether its file comes out the same from nothing kept and with other shards."""
    maker.folder.mkdir()
    again = {draft.name: cache.sha256(draft.path) for draft in make(maker, maker.prepare()) if draft.path}
    return [
        replace(draft, is_reproduced=again.get(draft.name) == cache.sha256(draft.path)) if draft.path else draft
        for draft in drafts
    ]


def _notes(source: Source) -> Iterator[str]:
    if source.lacking:
        yield (
            "this TensorFlow lacks what the fast path uses, so the public converter made every file, each with a"
            f" calibration of its own: {source.lacking}"
        )


def _not_checked(drafts: Sequence[Draft], settings: Settings) -> Iterator[str]:
    """Tell which files were not made a second time, though that was asked for."""
    names = [draft.name for draft in drafts if draft.path and draft.is_reproduced is None]
    if settings.verifies_reproducible and names:
        why = "training is not repeated, and a file that was made elsewhere cannot be made again"
        yield f"not checked whether the same bytes are made again: {', '.join(names)}; {why}"


def _workers(recipe: Recipe, settings: Settings, clock: _Clock) -> Workers:
    log = recipe.output / LOG
    log.unlink(missing_ok=True)
    return Workers(log, settings.timeout, clock.listen, settings.budget)


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


def install(result: Result, recipe: Recipe, files: Mapping[str, Path | None], folder: Path) -> None:
    """Put the files and their reports into the output folder, each whole; what could not be made leaves no old file."""
    texts = {
        "recipe.yaml": dump(recipe, recipe.output),
        "report.json": to_json(result),
        "report.md": to_markdown(result),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for variant, path in files.items():
        target = recipe.output / file_name(recipe, variant)
        if path:
            path.replace(target)
        else:
            target.unlink(missing_ok=True)
    for name in texts:
        (folder / name).replace(recipe.output / name)


def _forget_checkpoint(recipe: Recipe, drafts: Sequence[Draft]) -> None:
    """Remove it once it is of no more use: there is no training, or all that it led to was made."""
    trained = [draft.path for draft in drafts if draft.variant and draft.variant.trained]
    if recipe.training is None or (trained and all(trained)):
        shutil.rmtree(recipe.output / trainer.CHECKPOINT, ignore_errors=True)
