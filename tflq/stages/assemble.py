"""The last step of a run: the values that the stages returned become the Result, which the reports show."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tflq import cache, scores
from tflq import recipe as recipes
from tflq.calibrate.samples import CalibrationSamples
from tflq.calibrate.schema import Calibration, Percentile
from tflq.errors import TflqError
from tflq.evaluate.record import Record
from tflq.evaluate.section import Evaluation
from tflq.firmware.input_scales import input_scale_violations
from tflq.firmware.io_row import with_preprocessing
from tflq.inputs.checks import data_warnings
from tflq.metrics.detection import Detection
from tflq.recipe import Recipe
from tflq.recipe_warnings import warnings
from tflq.refine import BY_KEY, SWITCHES
from tflq.result import Baseline, DatasetReport, FileFigures, Gate, RangeReport, Result, Run, TrainingReport, Variant
from tflq.rules.violation import Violation
from tflq.scores import with_gains
from tflq.stages.answers import answers_report
from tflq.stages.context import RunContext
from tflq.stages.histograms import histograms
from tflq.stages.measure import Measurement
from tflq.stages.state import CalibrationResult, ConvertibleSource, PreparedRun
from tflq.stages.train import TrainedModels
from tflq.stages.variant_build import VariantBuild
from tflq.target_gates import target_gates
from tflq.targets.tools import tool_versions
from tflq.worker import Done, Failed


@dataclass(frozen=True)
class RunValues:
    """The values that the stages of one run returned."""

    context: RunContext
    source: ConvertibleSource
    prepared: PreparedRun
    calibration: CalibrationResult | TflqError | None
    trained: Done[TrainedModels] | Failed | None
    measurement: Measurement
    notes: tuple[str, ...]
    """Sentences for the warnings of the report."""

    @property
    def recipe(self) -> Recipe:
        return self.context.recipe

    @property
    def float32(self) -> Record | TflqError:
        return self.measurement.float32


def assemble(values: RunValues, builds: Sequence[VariantBuild], run: Run) -> Result:
    """Return the result of a run."""
    recipe = values.recipe
    return Result(
        name=recipe.name,
        recipe=recipes.dump(recipe, recipe.output),
        environment=cache.versions(trains=recipe.training is not None)
        | tool_versions(recipe.checked_targets)
        | {"python": platform.python_version()},
        warnings=(*_warnings(values), *_doubts(values), *_advice(values, builds), *_unrefined(builds)),
        calibration=_calibration(values),
        range_report=_range_report(values),
        evaluation=_evaluation(values),
        metric=recipe.measured_on.scoring.name if recipe.measured_on.scoring else None,
        baseline=_baseline(values),
        variants=with_gains([_variant(values, build) for build in builds]),
        run=run,
        training=_training(values),
        histograms=histograms(values.calibration),
    )


def _warnings(values: RunValues) -> Iterator[str]:
    recipe, calibration = values.recipe, values.calibration
    yield from warnings(recipe)
    yield from values.notes
    for violation in values.prepared.float32.violations:
        if violation.severity == "error":
            yield f"the float32 baseline: {violation.where} {violation.message}"
    if isinstance(values.measurement.source, TflqError) and values.measurement.source is not values.float32:
        yield (
            "TensorFlow could not run the source, so the files are compared with the float32 baseline only:"
            f" {values.measurement.source}"
        )
    calibration_samples = _samples_of(values)
    if recipe.calibration and calibration_samples:
        yield from _fewer("calibration", recipe.calibration, len(calibration_samples.rows))
        yield from data_warnings(calibration_samples.summaries, recipe.inputs)
    yield from _unchanged_kernels(values)
    if isinstance(calibration, CalibrationResult) and calibration.selected_ranges:
        yield from calibration.selected_ranges.warnings
    if recipe.evaluation and isinstance(values.float32, Record):
        measured, calibrated_on = len(values.float32.is_finite), int(values.float32.was_calibrated_on.sum())
        yield from _fewer("evaluation", recipe.evaluation, values.measurement.available)
        if calibrated_on:
            yield (
                f"{calibrated_on} of {measured} evaluation samples are also calibration samples, so the metrics may be"
                " too good"
            )


def _doubts(values: RunValues) -> Iterator[str]:
    """Yield signs that the outputs of the float32 file tell little about the others."""
    metric = values.recipe.measured_on.metric
    if isinstance(values.float32, Record):
        yield from scores.constant_outputs(values.float32)
        if isinstance(metric, Detection):
            yield from metric.doubts(values.float32.statistics)


def _unchanged_kernels(values: RunValues) -> Iterator[str]:
    layers = values.trained.value.trained.unchanged_kernels if isinstance(values.trained, Done) else ()
    if layers:
        yield f"pruning and clustering leave the depthwise kernels of these layers as they are: {', '.join(layers)}"


def _unrefined(builds: Sequence[VariantBuild]) -> Iterator[str]:
    """Yield each obstacle to corrections with the names of its variants."""
    names: dict[str, list[str]] = {}
    *others, last = (BY_KEY[key].in_words for key in SWITCHES)
    for build in builds:
        if build.refinement and build.refinement.obstacle:
            names.setdefault(build.refinement.obstacle, []).append(build.name)
    for reason, variants in names.items():
        yield (
            f"{', '.join(variants)}: quantized without {', '.join(others)} or {last}, because they could not be"
            f" evaluated: {reason}"
        )


def _advice(values: RunValues, builds: Sequence[VariantBuild]) -> Iterator[str]:
    """Yield the advice about ranges, unless a variant has mse ranges already."""
    calibration = values.calibration
    has_other_ranges = any(
        build.refinement is not None and build.refinement.config.ranges is not None for build in builds
    )
    if isinstance(calibration, CalibrationResult) and calibration.selected_ranges and not has_other_ranges:
        yield from calibration.selected_ranges.advice


def _fewer(name: str, section: Calibration | Evaluation, used: int) -> Iterator[str]:
    requested = section.samples if "samples" in section.model_fields_set else "all"
    if isinstance(requested, int) and used < requested:
        yield f"{name}.samples asks for {requested}, the dataset has {used}: all were used"


def _calibration(values: RunValues) -> DatasetReport | None:
    calibration_samples = _samples_of(values)
    if calibration_samples is None or values.recipe.calibration is None:
        return None
    return DatasetReport(
        str(values.recipe.calibration.dataset),
        len(calibration_samples.rows),
        calibration_samples.total,
        calibration_samples.summaries,
    )


def _samples_of(values: RunValues) -> CalibrationSamples | None:
    """Return the calibration samples, if a stage used them."""
    if isinstance(values.calibration, CalibrationResult):
        return values.calibration.calibration_samples
    samples = values.prepared.calibration_samples if values.calibration is None else None
    return samples if isinstance(samples, CalibrationSamples) else None


def _range_report(values: RunValues) -> RangeReport | None:
    calibration, section = values.calibration, values.recipe.calibration
    if not isinstance(calibration, CalibrationResult) or section is None:
        return None
    method = f"percentile {section.ranges.percentile:g}" if isinstance(section.ranges, Percentile) else section.ranges
    found_by, selected_ranges = calibration.found_by, calibration.selected_ranges
    if selected_ranges is None:
        return RangeReport(method, found_by, None, None, ())
    activations = len(next(iter(selected_ranges.by_bits.values())))
    masks = calibration.calibration_data.masks if calibration.calibration_data else None
    return RangeReport(
        method, found_by, selected_ranges.observation_obstacle, activations, selected_ranges.clips, masks
    )


def _evaluation(values: RunValues) -> DatasetReport:
    total = values.prepared.evaluation_rows.total
    return DatasetReport(str(values.recipe.measured_on.dataset), values.measurement.available, total, ())


def _baseline(values: RunValues) -> Baseline:
    metric, source = values.recipe.measured_on.scoring, values.measurement.source
    record = source if isinstance(source, Record) else None
    return Baseline(
        source_bytes=values.source.prepared.size_bytes,
        source_metric=scores.metric_value(metric, record) if record else None,
        source_error=str(source) if isinstance(source, TflqError) else None,
        float32_bytes=values.context.float32.stat().st_size,
        float32_metric=scores.metric_value(metric, values.float32) if isinstance(values.float32, Record) else None,
        fidelity=scores.outputs(record) if record else {},
        source_samples=len(record.is_finite) if record else None,
    )


def _variant(values: RunValues, build: VariantBuild) -> Variant:
    file = build.verified.file if build.verified else None
    if file is not None:
        file = replace(file, io=with_preprocessing(file.io, values.recipe.inputs))
    ratio = file.size_bytes / values.context.float32.stat().st_size if file else None
    measured = _measured(values, build)
    return Variant(
        name=build.name,
        mode=build.variant.mode if build.variant else None,
        file=file,
        size_ratio=ratio,
        measured=measured,
        gates=_gates(values, build, measured),
        targets=build.targets,
        artifacts=build.artifacts,
        violations=tuple(_violations(values, build)),
        error=build.error,
        is_reproduced=build.is_reproduced,
        seconds=build.seconds,
        is_trained=build.variant is not None and build.variant.trained,
        compression=build.compression,
        refinement=build.refinement,
        findings=build.findings,
        layers=build.layers,
    )


def _gates(values: RunValues, build: VariantBuild, measured: FileFigures | None) -> tuple[Gate, ...]:
    """Return a verdict for every gate of the recipe that could be measured."""
    if build.verified is None:
        return ()
    gates, file = values.recipe.gates, build.verified.file
    ratio = file.size_bytes / values.context.float32.stat().st_size
    return (*scores.gates(gates, file, ratio, measured), *target_gates(gates, file, build.targets))


def _training(values: RunValues) -> TrainingReport | None:
    section, trained = values.recipe.training, values.trained
    if section is None or not isinstance(trained, Done):
        return None
    outcome = trained.value.trained
    return TrainingReport(
        dataset=str(section.dataset),
        samples=outcome.samples,
        of=outcome.total,
        loss=section.loss,
        from_logits=outcome.from_logits,
        metric=outcome.metric,
        phases=outcome.phases,
        skipped_layers=outcome.skipped,
        left_in_float=outcome.left_in_float,
        unchanged_kernels=outcome.unchanged_kernels,
        seconds=trained.seconds,
    )


def _measured(values: RunValues, build: VariantBuild) -> FileFigures | None:
    if build.record is None or isinstance(values.float32, TflqError):
        return None
    metric, gate = values.recipe.measured_on.scoring, values.recipe.gates.max_metric_drop
    score = scores.score(metric, _same_samples(values.float32, build.record), build.record, gate) if metric else None
    answers = answers_report(build.record.answers) if build.record.answers else None
    return FileFigures(len(build.record.is_finite), score, scores.outputs(build.record), build.latency, answers)


def _same_samples(float32: Record, record: Record) -> Record:
    """Return the record of the float32 file on the samples of the other record, which are its first ones."""
    return float32.at(range(len(record.is_finite)))


def _violations(values: RunValues, build: VariantBuild) -> Iterator[Violation]:
    if build.is_reproduced is False:
        yield Violation("V0", "the file", "has other bytes after a second conversion", "error")
    if build.verified:
        yield from build.verified.violations
        samples = _samples_of(values)
        summaries = samples.summaries if samples else ()
        yield from input_scale_violations(build.verified.file.io, values.recipe.inputs, summaries)
    if build.record and isinstance(values.float32, Record):
        is_trained = build.variant is not None and build.variant.trained
        for violation in scores.suspicious_outputs(build.record, _same_samples(values.float32, build.record)):
            if violation.severity == "error" or not is_trained:  # outputs of a trained model may differ
                yield violation
        broken = [finding for finding in build.findings if finding.kind == "broken"]
        yield from (Violation("V13", finding.where, finding.message, "error") for finding in broken)
        if isinstance(values.measurement.source, Record):
            yield from scores.source_mismatches(values.measurement.source)
