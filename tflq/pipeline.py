"""run(recipe) → Result: the order of the stages, from a recipe to checked and measured files."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tflq import cache, flatbuffer, lock, stages
from tflq.cache import Store
from tflq.errors import RecipeError, printable_line
from tflq.firmware.making import old_sources
from tflq.html_report.page import to_html
from tflq.progress import RunProgress, Step, Watcher, steps
from tflq.recipe import Recipe, check_source, dump
from tflq.report.json_report import to_json
from tflq.report.page import to_markdown
from tflq.result import Result, Run, Stage
from tflq.sources.outputs import notes_about
from tflq.sources.schema import TFLite
from tflq.stages import ConvertibleSource, RecipeCache, RunContext, RunValues, VariantBuild, file_name
from tflq.worker import (
    Budget,
    Event,
    Finished,
    Listener,
    WorkerPool,
    Workers,
    disk_full_error,
    preload_tensorflow,
    processors,
)

LOG = "tflq.log"
EVALUATION_LOG = "evaluate.log"
PAGE = "report.html"


@dataclass(frozen=True)
class Settings:
    """The settings of a run that are not in the recipe, since they do not change the files."""

    timeout: float | None = None
    """The seconds that one stage may take; None for no limit."""
    jobs: int = field(default_factory=processors)
    """The number of worker processes at a time, at least 1."""
    listen: Listener = lambda _: None
    """The function that is called with each event of the run."""
    watch: Watcher | None = None
    """The function that is called when a step begins, and when a variant is converted or measured; or None."""
    budget: Budget = field(default_factory=Budget)
    """The limits of all stages together: time and memory; and the event that stops them."""
    verifies_reproducible: bool = False
    """Whether every file is converted twice and compared; files of trained models and a given `file` are not."""
    store: Store | None = None
    """The cache; None for no cache."""
    pool: WorkerPool | None = None
    """Idle worker processes that several runs share; None if this run starts its own."""


def run(recipe: Recipe, settings: Settings = Settings(), file: Path | None = None) -> Result:
    """Convert, check and measure the recipe's variants, and install them in its output folder.

    If `file` is given, measure that .tflite file instead, and install nothing. An error of one variant is in its row of
    the result. Raises SourceError, DatasetError or ConversionError if no file can be made or measured at all.
    """
    _refuse_missing(recipe, file)
    preload_tensorflow()
    clock = _Clock(settings.listen)
    with _run_context(recipe, settings, clock, file) as context:
        progress = RunProgress(recipe, settings.watch, tuple(steps(recipe, file)))
        progress.begin(Step.READING)
        source = stages.prepare_source(context)
        prepared = stages.prepare_inputs(context, source, makes_variants=file is None, measures_source=True)
        early = stages.begin_measurement(context, source, prepared)
        progress.begin(Step.CALIBRATING)
        calibration = stages.calibrate(context, source, prepared)
        progress.begin(Step.CONVERTING)
        calibration = stages.refine_variants(context, prepared, calibration)
        early = stages.with_float32_outputs(early, context, source, prepared)
        builds = [_given(file)] if file else stages.convert(context, source, prepared, calibration)
        if settings.verifies_reproducible and file is None:
            builds = _compared_with_rebuild(context, builds)
        progress.begin(Step.TRAINING)
        trained = None if file else stages.train(context, source)
        builds = stages.add_trained(context, builds, source, trained)
        progress.tell(builds)
        progress.begin(Step.CHECKING)
        inspected = stages.begin_inspection(context, builds, prepared)
        builds = stages.check_contracts(context, builds, source)
        builds = stages.check_targets(context, builds)
        builds = stages.smoke_test(context, builds, source, prepared)
        builds = stages.run_on_targets(context, builds, source, prepared)
        builds = stages.compression_stats(context, builds)
        progress.begin(Step.MEASURING)
        measurement = stages.measure(context, builds, source, prepared, early)
        progress.tell(measurement.builds, is_final=True)
        builds = stages.find(context, measurement, source, prepared, inspected)
        builds = stages.write_artifacts(context, builds, source, prepared)
        progress.begin(Step.TIMING)
        builds = stages.time_files(context, builds, prepared)

        notes = (*_notes(context, source), *context.cache.notes, *_not_checked(builds, settings))
        values = RunValues(context, source, prepared, calibration, trained, measurement, notes)
        result = stages.assemble(values, builds, clock.run(context.workers))
        if file is None:
            _install_and_clear(result, recipe, builds, context.folder)
    return result


@contextmanager
def _run_context(recipe: Recipe, settings: Settings, clock: _Clock, file: Path | None) -> Iterator[RunContext]:
    """Open the temporary folder, the workers and the cache of a run."""
    with (
        cache.workspace(recipe.output) as folder,
        _workers(recipe, settings, clock, file) as workers,
        RecipeCache(recipe, settings.store if recipe.keeps else None) as recipe_cache,
    ):
        yield RunContext(recipe, folder, workers, settings.jobs, recipe_cache)


def _given(file: Path) -> VariantBuild:
    """Return the build of a given file, whose name may have any characters."""
    return VariantBuild(None, printable_line(file.name), file)


def _refuse_missing(recipe: Recipe, file: Path | None) -> None:
    if file is None:
        check_source(recipe)
        return
    recipe.model.check()
    if not file.is_file():
        raise RecipeError(f"{file}: there is no such file")


def log_of(recipe: Recipe, file: Path | None) -> Path:
    """Return the path of the run's log. Measuring a file leaves the log of the last conversion as it is."""
    return recipe.output / (EVALUATION_LOG if file else LOG)


def _compared_with_rebuild(context: RunContext, builds: Sequence[VariantBuild]) -> list[VariantBuild]:
    """Convert all files again, without cache and in other shards, and return the builds with `is_reproduced`."""
    recipe = context.recipe
    again = RunContext(recipe, context.folder / "again", context.workers, 2 * context.jobs, RecipeCache(recipe))
    again.folder.mkdir()
    rebuilt = stages.build_variants(again, stages.prepare_source(again))
    digests = {build.name: cache.sha256(build.path) for build in rebuilt if build.path}
    return [
        replace(build, is_reproduced=digests.get(build.name) == cache.sha256(build.path)) if build.path else build
        for build in builds
    ]


def _notes(context: RunContext, source: ConvertibleSource) -> Iterator[str]:
    if source.missing_api:
        yield (
            "the public converter made every file and calibrated each one separately, because this TensorFlow version"
            f" lacks internal functions that tflq uses: {source.missing_api}"
        )
    yield from source.prepared.notes
    yield from notes_about(flatbuffer.load(context.float32))
    if source.prepared.is_tflite and not isinstance(context.recipe.model, TFLite):
        yield (
            "the model ends at model.outputs, which the source does not return, so the two are not compared: the"
            " float32 file is the reference"
        )
    elif source.prepared.is_tflite:
        yield (
            "the source is a .tflite file, which TensorFlow cannot run, so the two are not compared: the"
            " float32 file is the source itself" + (", with the changes above" if source.prepared.notes else "")
        )


def _not_checked(builds: Sequence[VariantBuild], settings: Settings) -> Iterator[str]:
    """Yield the sentence about files that were not compared with a second conversion, if the caller requested it."""
    names = [build.name for build in builds if build.path and build.is_reproduced is None]
    if settings.verifies_reproducible and names:
        reason = "training is not repeated, and a given file cannot be converted again"
        yield f"not checked for the same bytes after a second conversion: {', '.join(names)}; {reason}"


def _workers(recipe: Recipe, settings: Settings, clock: _Clock, file: Path | None) -> Workers:
    log = log_of(recipe, file)
    log.unlink(missing_ok=True)
    return Workers(log, settings.timeout, clock.listen, settings.budget, settings.pool)


class _Clock:
    """Passes events on, and records the time of each stage."""

    def __init__(self, listen: Listener) -> None:
        self._listen, self._started = listen, time.monotonic()
        self._stages: list[Stage] = []

    def listen(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._stages.append(Stage(event.stage, event.seconds))
        self._listen(event)

    def run(self, workers: Workers) -> Run:
        """Return the time and the memory that the run has taken so far."""
        return Run(time.monotonic() - self._started, workers.peak_rss_bytes, tuple(self._stages))


def _install_and_clear(result: Result, recipe: Recipe, builds: Sequence[VariantBuild], folder: Path) -> None:
    install(result, recipe, {build.name: build.path for build in builds}, folder)
    _forget_checkpoint(recipe, builds)


def install(result: Result, recipe: Recipe, files: Mapping[str, Path | None], folder: Path) -> None:
    """Move the files and the reports into the output folder; remove the old file of a variant that failed.

    `files` has the path of each variant's file in `folder`, or None if the variant failed. A reader never sees half a
    file. After a kill, the next command moves the rest. Raise an error in words if a file cannot be moved; those of
    the earlier run are then put back.
    """
    with failed_writes(recipe, folder), cache.uninterrupted():
        _install(result, recipe, files, folder)


@contextmanager
def failed_writes(recipe: Recipe, folder: Path) -> Iterator[None]:
    """Raise an error in words if the disk is full or a file of the output folder cannot be written."""
    try:
        yield
    except OSError as error:
        path = error.filename2 or error.filename or recipe.output
        reason = f"{path}: the files could not be written: {error.strerror}"
        if cache.is_unfinished(folder):
            reason += f"; the next command that uses {recipe.output} moves the rest"
        raise disk_full_error(error, "write the files") or RecipeError(reason) from error


def _install(result: Result, recipe: Recipe, files: Mapping[str, Path | None], folder: Path) -> None:
    texts = {
        "recipe.yaml": dump(recipe, recipe.output),
        "report.json": to_json(result),
        "report.md": to_markdown(result),
        lock.LOCK: lock.of_run(recipe, result),
        PAGE: to_html(result, recipe),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    made = {file_name(recipe, variant): path for variant, path in files.items()}
    removed = [name for name, path in made.items() if path is None]
    sources = {file_name(recipe, each.name): each.artifacts for each in result.variants}
    for name in made:
        removed += old_sources(recipe.output, Path(name).stem, sources.get(name, ()))
    kept = {name: path for name, path in made.items() if path}
    others = [*(name for names in sources.values() for name in names), *texts]
    cache.install(folder, kept | {name: folder / name for name in others}, removed)


def _forget_checkpoint(recipe: Recipe, builds: Sequence[VariantBuild]) -> None:
    """Remove the training checkpoint if there is no training, or if all trained variants have a file."""
    trained = [build.path for build in builds if build.variant and build.variant.trained]
    if recipe.training is None or (trained and all(trained)):
        shutil.rmtree(recipe.output / stages.CHECKPOINT, ignore_errors=True)
