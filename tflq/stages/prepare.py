"""The first stages: read the source and the samples, and convert the files that need no calibration."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tflq import cache, conversion, flatbuffer, verify
from tflq.calibrate import data_checks
from tflq.calibrate.calibration_data import CalibrationData
from tflq.calibrate.samples import CalibrationSamples, read_samples
from tflq.contract import NO_OPS
from tflq.errors import ConversionError, DatasetError, EvaluationError, RecipeError, SourceError, TflqError
from tflq.evaluate import plan
from tflq.id_tables import POSITIONS
from tflq.op_selectors import select
from tflq.refine import RefinementRequest
from tflq.sources.prepare import prepare
from tflq.sources.prepared import PreparedSource
from tflq.sources.schema import is_converted_from_tflite
from tflq.stages.context import RunContext
from tflq.stages.dynamic_range import corrects_biases, is_correction_cached
from tflq.stages.early_measurement import begin_recording_source
from tflq.stages.state import ConvertibleSource, PreparedRun
from tflq.stages.variant_build import Float32Baseline, VariantBuild
from tflq.worker import Done, Failed, Task

BASELINE = "float32 baseline"
CHECK = f"check {BASELINE}"
ROWS, SAMPLES = "open the evaluation data", "read the calibration data"
FIRST_IDS, IDS = "check the ids of the first row", "check the ids of the calibration data"


def prepare_source(context: RunContext) -> ConvertibleSource:
    """Return the float model with its signature, from the cache or from the source.

    Raises SourceError.
    """
    recipe, folder = context.recipe, context.source_folder
    inspect: Task[Any] = Task("inspect the converter", conversion.missing_internals, (), ConversionError)
    read: Task[Any] = Task("read the source", prepare, (recipe.model, recipe.inputs, folder), SourceError)
    cached, known = context.cache.load_float_model(folder), context.workers.known(inspect)
    tasks = ([] if known else [inspect]) + ([] if cached else [read])
    outcomes = context.workers.run_all(tasks, context.jobs)
    inspected = known or outcomes[0]
    missing_api = str(inspected.error) if isinstance(inspected, Failed) else inspected.value
    return ConvertibleSource(cached or _ended(context, outcomes[-1].get()), missing_api)


def _ended(context: RunContext, prepared: PreparedSource) -> PreparedSource:
    """Return the source that ends at the recipe's outputs. Raises ConversionError or RecipeError."""
    outputs = context.recipe.model.outputs
    if outputs is None or prepared.is_tflite:
        return prepared
    arguments = (prepared, outputs, context.source_folder)
    ended: PreparedSource = context.workers.run(
        Task("end the model at model.outputs", conversion.end_source, arguments, ConversionError)
    ).value
    return ended


def make_float32(context: RunContext, source: ConvertibleSource) -> Path:
    """Convert the source to the float32 file unless the file exists, and return its path. Raises ConversionError."""
    if not context.float32.exists():
        context.workers.run(_baseline_conversion(context, source))
        context.cache.save_float_model(source.prepared, context.source_folder)
    return context.float32


def prepare_inputs(
    context: RunContext, source: ConvertibleSource, makes_variants: bool, measures_source: bool = False
) -> PreparedRun:
    """Convert the float32 file and the files without calibration, and read the samples at the same time.

    If `measures_source`, begin to record the outputs of the source, too.
    Raises SourceError, DatasetError or ConversionError when no variant could be compared or measured.
    """
    variants = [variant for variant in context.recipe.variants if makes_variants and not variant.trained]
    builds = [VariantBuild(variant, variant.name) for variant in variants]
    uses_samples = context.recipe.calibration is not None and any(
        build.needs_ranges or corrects_biases(build) for build in builds
    )
    cached = _cached_calibration(context, source, builds) if uses_samples else None
    tasks = list(_tasks(context, source, builds, uses_samples and cached is None))
    outcomes, source_outputs = dict[str, Done[Any] | Failed](), None
    for place, outcome in context.workers.as_done(tasks, context.jobs):
        outcomes[tasks[place].stage] = outcome
        if measures_source and tasks[place].stage == ROWS and isinstance(outcome, Done):
            source_outputs = begin_recording_source(context, source, outcome.value)
    rows = outcomes[ROWS].get()
    if (baseline := outcomes.get(conversion_stage(BASELINE))) is not None:
        baseline.get()
        context.cache.save_float_model(source.prepared, context.source_folder)
    outcomes |= _run(context, _tasks_with_float32(context, source, builds))
    outcomes |= _run(context, list(_id_checks(context, outcomes)))
    if FIRST_IDS in outcomes:
        outcomes[FIRST_IDS].get()
    return PreparedRun(
        float32=Float32Baseline(context.float32, outcomes[CHECK].get().violations),
        evaluation_rows=rows,
        builds=tuple(_converted(context, build, outcomes.get(conversion_stage(build.name))) for build in builds),
        calibration_samples=_samples(context, source, outcomes) if SAMPLES in outcomes else cached and cached[0],
        calibration_data=cached and cached[1],
        source=source_outputs,
    )


def conversion_without_ranges(context: RunContext, source: ConvertibleSource, build: VariantBuild) -> Task[Any]:
    """Return the task that converts the variant from the float32 file if its mode allows that, else from the source.

    The float32 file must exist.
    """
    if not _starts_from_float32(context, source, build):
        return conversion_from_source(context, source, build)
    arguments = (context.float32, source.prepared, build.variant, context.path(build))
    return Task(conversion_stage(build.name), conversion.convert_from_float32, arguments, ConversionError)


def conversion_from_source(
    context: RunContext, source: ConvertibleSource, build: VariantBuild, target: Path | None = None
) -> Task[Any]:
    """Return the task that converts the source itself, without given ranges, to `target` or to the variant's path."""
    function = conversion.convert_publicly if source.missing_api else conversion.convert
    arguments = (source.prepared, build.variant, target or context.path(build))
    return Task(conversion_stage(build.name), function, arguments, ConversionError)


def conversion_stage(name: str) -> str:
    return f"convert {name}"


def _run(context: RunContext, tasks: Sequence[Task[Any]]) -> dict[str, Done[Any] | Failed]:
    """Run tasks in parallel, and return their outcomes by stage."""
    return dict(zip([task.stage for task in tasks], context.workers.run_all(tasks, context.jobs), strict=True))


def _tasks(
    context: RunContext, source: ConvertibleSource, builds: Sequence[VariantBuild], reads_samples: bool
) -> Iterator[Task[Any]]:
    """Yield the tasks that do not need the float32 file."""
    recipe, prepared = context.recipe, source.prepared
    if not context.float32.exists():
        yield _baseline_conversion(context, source)
    yield Task(ROWS, plan.evaluation_rows, (recipe.measured_on, recipe.inputs, prepared), DatasetError)
    if reads_samples:
        arguments = (recipe.calibration, recipe.inputs, prepared, context.folder / "calibration")
        yield Task(SAMPLES, read_samples, arguments, DatasetError)
    for build in builds:
        is_made_later = build.needs_ranges or _starts_from_float32(context, source, build)
        if not is_made_later and not _is_baseline(context, build):
            yield conversion_from_source(context, source, build)


def _tasks_with_float32(
    context: RunContext, source: ConvertibleSource, builds: Sequence[VariantBuild]
) -> list[Task[Any]]:
    """Return the tasks that read the float32 file: its check, and conversions from it."""
    check = Task(CHECK, verify.verify, (context.float32, context.recipe.base, source.prepared), EvaluationError)
    derived = [build for build in builds if _starts_from_float32(context, source, build)]
    return [check, *(conversion_without_ranges(context, source, build) for build in derived)]


def _id_checks(context: RunContext, outcomes: Mapping[str, Done[Any] | Failed]) -> Iterator[Task[Any]]:
    """Yield the tasks that look for ids beyond the model's tables, if it has tables that ids may choose rows of."""
    if not {operator.type for _, operator in flatbuffer.mapped(context.float32).operators()} & set(POSITIONS):
        return
    recipe, file = context.recipe, context.float32
    arguments = (file, recipe.measured_on, recipe.inputs, outcomes[ROWS].get())
    yield Task(FIRST_IDS, plan.refuse_unknown_ids, arguments, DatasetError)
    if recipe.calibration is not None and isinstance(read := outcomes.get(SAMPLES), Done):
        samples = (file, read.value, recipe.inputs, recipe.calibration.dataset)
        yield Task(IDS, data_checks.refuse_unknown_ids, samples, DatasetError)


def _starts_from_float32(context: RunContext, source: ConvertibleSource, build: VariantBuild) -> bool:
    """Whether the variant's file may be made from the float32 file, which was converted with the same ops."""
    variant = build.variant
    is_possible = variant is not None and variant.starts_from_float32 and not source.missing_api
    return is_possible and _has_ops(context, build) and not _is_baseline(context, build)


def _baseline_conversion(context: RunContext, source: ConvertibleSource) -> Task[Any]:
    return conversion_from_source(context, source, VariantBuild(context.recipe.base, BASELINE), context.float32)


def _converted(context: RunContext, build: VariantBuild, outcome: Done[Any] | Failed | None) -> VariantBuild:
    """Return the build with its converted file or its error; a build that needs ranges has no file yet."""
    if outcome is not None:
        named = outcome.value or NO_OPS if isinstance(outcome, Done) else NO_OPS
        path = context.path(build) if isinstance(outcome, Done) else None
        build = replace(build.with_outcome(outcome), path=path, named_ops=named)
    elif _is_baseline(context, build):
        build = replace(build, path=_baseline_file(context, build))
    return _with_known_ops(context, build)


def _baseline_file(context: RunContext, build: VariantBuild) -> Path:
    """Return the variant's file, which is the float32 baseline: no copy for the first such variant.

    Two files of the output folder must not be one, since users may change one of them.
    """
    path = context.path(build)
    if context.float32.stat().st_nlink == 1:
        cache.link(context.float32, path)
    else:
        shutil.copyfile(context.float32, path)
    return path


def _with_known_ops(context: RunContext, build: VariantBuild) -> VariantBuild:
    """Return the build, with an error if a selector names no op of the model. This check comes before calibration."""
    if build.error or build.variant is None or not (build.variant.keep_float or build.variant.keep_int16):
        return build
    try:
        graph = flatbuffer.mapped(context.float32)
        conversion.named_int16_ops(graph, build.variant, select(graph, build.variant.keep_float))
    except RecipeError as error:
        return replace(build, error=error)
    return build


def _samples(
    context: RunContext, source: ConvertibleSource, outcomes: Mapping[str, Done[Any] | Failed]
) -> CalibrationSamples | TflqError:
    """Return the samples. Return the error if they cannot be read, or if the model has no row for an id."""
    outcome, checked = outcomes[SAMPLES], outcomes.get(IDS)
    if isinstance(outcome, Failed):
        return outcome.error
    if isinstance(checked, Failed):
        return checked.error
    samples: CalibrationSamples = outcome.value
    context.cache.save_samples(samples, source.prepared, context.folder / "new samples")
    return samples


def _cached_calibration(
    context: RunContext, source: ConvertibleSource, builds: Sequence[VariantBuild]
) -> tuple[CalibrationSamples, CalibrationData] | None:
    """Return samples and statistics from the cache; None if a variant needs to read the samples themselves."""
    if source.missing_api or not context.float32.exists() or context.recipe.report == "full":
        return None
    samples = context.cache.load_samples(source.prepared, context.folder / "cached samples")
    data = context.cache.load_ranges(context.float32, samples, context.folder / "cached ranges") if samples else None
    if samples is None or data is None:
        return None
    if not all(is_correction_cached(context, build, samples) for build in builds):
        return None
    requests = {RefinementRequest.by(build.variant) for build in builds if build.variant and build.needs_ranges}
    is_complete = data.observation_obstacle or all(
        request.is_noop or _is_refinement_cached(context, data.model, request, samples) for request in requests
    )
    return (samples, data) if is_complete else None


def _is_refinement_cached(
    context: RunContext, model: Path, request: RefinementRequest, samples: CalibrationSamples
) -> bool:
    folder = context.folder / f"cached {uuid.uuid4().hex}"
    return context.cache.load_refined((model, samples, request), folder) is not None


def _is_baseline(context: RunContext, build: VariantBuild) -> bool:
    """Whether the variant's file is the float32 baseline itself."""
    variant = build.variant
    is_dense = variant is not None and variant.mode == context.recipe.base.mode and variant.sparse == "off"
    return is_dense and _has_ops(context, build)


def _has_ops(context: RunContext, build: VariantBuild) -> bool:
    """Whether the variant is converted with the same kinds of ops as the float32 baseline.

    A .tflite file has neither custom ops nor TensorFlow ops.
    """
    if is_converted_from_tflite(context.recipe.model):
        return True
    keys = ("allow_custom_ops", "select_tf_ops")
    return all(getattr(build.variant, key) == getattr(context.recipe.base, key) for key in keys)
