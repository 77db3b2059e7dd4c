"""What the stages found, put together: builds and records to the Result of the report."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tflq import cache, scores
from tflq import recipe as recipes
from tflq.calibrate import Calibration, CalibrationSamples, Percentile
from tflq.errors import TflqError
from tflq.evaluate import Evaluation, Plan, Record
from tflq.inputs import oddities
from tflq.recipe import Recipe
from tflq.result import Baseline, Data, Measured, Ranging, Result, Run, Training, Variant
from tflq.rules import Violation
from tflq.scores import with_gains
from tflq.stages import CalibrationResult, PreparedRun, VariantBuild
from tflq.trainer import Pupil
from tflq.worker import Done, Failed


@dataclass(frozen=True)
class Evidence:
    """What all variants have in common."""

    recipe: Recipe
    plan: Plan
    prepared_run: PreparedRun
    base: Record | TflqError
    """The float32 file's answers."""
    source: Record | TflqError
    calibration_result: CalibrationResult | TflqError | None
    notes: tuple[str, ...]
    trained: Done[Pupil] | Failed | None


def conclude(evidence: Evidence, builds: Sequence[VariantBuild], run: Run) -> Result:
    """The result of a run."""
    recipe = evidence.recipe
    return Result(
        name=recipe.name,
        recipe=recipes.dump(recipe, recipe.output),
        environment=cache.versions(trains=recipe.training is not None) | {"python": platform.python_version()},
        warnings=(*_warnings(evidence), *_advice(evidence, builds), *_unrefined(builds)),
        calibration=_calibration(evidence),
        ranging=_ranging(evidence),
        evaluation=_evaluation(evidence),
        metric=recipe.measured_on.scoring.name if recipe.measured_on.scoring else None,
        baseline=_baseline(evidence),
        variants=with_gains([_variant(evidence, build) for build in builds]),
        run=run,
        training=_training(evidence),
    )


def _warnings(evidence: Evidence) -> Iterator[str]:
    recipe, calibration_result = evidence.recipe, evidence.calibration_result
    yield from recipes.warnings(recipe)
    yield from evidence.notes
    for violation in evidence.prepared_run.float32.violations:
        if violation.severity == "error":
            yield f"the float32 base line: {violation.where} {violation.message}"
    if isinstance(evidence.source, TflqError) and evidence.source is not evidence.base:
        yield f"the source could not be run in TensorFlow, so only its float32 file is the base line: {evidence.source}"
    calibration_samples = _gathered(evidence)
    if recipe.calibration and calibration_samples:
        yield from _fewer("calibration", recipe.calibration, len(calibration_samples.rows))
        yield from oddities(calibration_samples.summaries, recipe.inputs)
    if isinstance(calibration_result, CalibrationResult) and calibration_result.selected_ranges:
        yield from calibration_result.selected_ranges.warnings
    if recipe.evaluation and isinstance(evidence.base, Record):
        measured, familiar = len(evidence.base.is_finite), int(evidence.base.is_familiar.sum())
        yield from _fewer("evaluation", recipe.evaluation, measured)
        if familiar:
            yield f"{familiar} of {measured} evaluation samples are calibration samples too, which flatters the figures"


def _unrefined(builds: Sequence[VariantBuild]) -> Iterator[str]:
    faults = {build.refinement.fault: build.name for build in builds if build.refinement and build.refinement.fault}
    for fault, name in faults.items():
        yield f"{name}: bias correction and what else might help could not be tried, so nothing of it was done: {fault}"


def _advice(evidence: Evidence, builds: Sequence[VariantBuild]) -> Iterator[str]:
    """What is worth a trial, unless it was tried and kept."""
    calibration_result = evidence.calibration_result
    is_taken = any(build.refinement is not None and build.refinement.kept.mse for build in builds)
    if isinstance(calibration_result, CalibrationResult) and calibration_result.selected_ranges and not is_taken:
        yield from calibration_result.selected_ranges.advice


def _fewer(name: str, section: Calibration | Evaluation, used: int) -> Iterator[str]:
    asked = section.samples if "samples" in section.model_fields_set else "all"
    if isinstance(asked, int) and used < asked:
        yield f"{name}.samples asks for {asked}, the dataset has {used}: all were used"


def _calibration(evidence: Evidence) -> Data | None:
    calibration_samples = _gathered(evidence)
    if calibration_samples is None or evidence.recipe.calibration is None:
        return None
    return Data(
        str(evidence.recipe.calibration.dataset),
        len(calibration_samples.rows),
        calibration_samples.total,
        calibration_samples.summaries,
    )


def _gathered(evidence: Evidence) -> CalibrationSamples | None:
    """The calibration samples, where they were of use."""
    if isinstance(evidence.calibration_result, CalibrationResult):
        return evidence.calibration_result.calibration_samples
    found = evidence.prepared_run.calibration_samples if evidence.calibration_result is None else None
    return found if isinstance(found, CalibrationSamples) else None


def _ranging(evidence: Evidence) -> Ranging | None:
    calibration_result, asked = evidence.calibration_result, evidence.recipe.calibration
    if not isinstance(calibration_result, CalibrationResult) or asked is None:
        return None
    method = f"percentile {asked.ranges.percentile:g}" if isinstance(asked.ranges, Percentile) else asked.ranges
    found_by, selected_ranges = calibration_result.found_by, calibration_result.selected_ranges
    if selected_ranges is None:
        return Ranging(method, found_by, None, None, ())
    activations = len(next(iter(selected_ranges.by_bits.values())))
    return Ranging(method, found_by, selected_ranges.observation_obstacle, activations, selected_ranges.clips)


def _evaluation(evidence: Evidence) -> Data:
    measured = len(evidence.base.is_finite) if isinstance(evidence.base, Record) else 0
    return Data(str(evidence.recipe.measured_on.dataset), measured, evidence.prepared_run.probe.total, ())


def _baseline(evidence: Evidence) -> Baseline:
    metric, source = evidence.recipe.measured_on.scoring, evidence.source
    ran = None if isinstance(source, TflqError) else source
    return Baseline(
        source_bytes=evidence.plan.source.size_bytes,
        source_metric=scores.metric_value(metric, ran) if ran else None,
        source_error=str(source) if isinstance(source, TflqError) else None,
        float32_bytes=evidence.plan.float32.stat().st_size,
        float32_metric=scores.metric_value(metric, evidence.base) if isinstance(evidence.base, Record) else None,
        fidelity=scores.outputs(ran) if ran else {},
    )


def _variant(evidence: Evidence, build: VariantBuild) -> Variant:
    file = build.verified.file if build.verified else None
    ratio = file.size_bytes / evidence.plan.float32.stat().st_size if file else None
    measured = _measured(evidence, build)
    return Variant(
        name=build.name,
        mode=build.variant.mode if build.variant else None,
        file=file,
        size_ratio=ratio,
        measured=measured,
        gates=scores.gates(evidence.recipe.gates, file, ratio, measured) if file and ratio else (),
        violations=tuple(_violations(evidence, build)),
        error=build.error,
        is_reproduced=build.is_reproduced,
        seconds=build.seconds,
        is_trained=build.variant is not None and build.variant.trained,
        weighed=build.compression,
        refinement=build.refinement,
    )


def _training(evidence: Evidence) -> Training | None:
    given, trained = evidence.recipe.training, evidence.trained
    if given is None or not isinstance(trained, Done):
        return None
    made = trained.value.trained
    return Training(
        dataset=str(given.dataset),
        samples=made.samples,
        of=made.total,
        loss=given.loss,
        from_logits=made.from_logits,
        metric=made.metric,
        phases=made.phases,
        skipped_layers=made.skipped,
        seconds=trained.seconds,
    )


def _measured(evidence: Evidence, build: VariantBuild) -> Measured | None:
    if build.record is None or isinstance(evidence.base, TflqError):
        return None
    metric, bar = evidence.recipe.measured_on.scoring, evidence.recipe.gates.max_metric_drop
    score = scores.score(metric, evidence.base, build.record, bar) if metric else None
    return Measured(score, scores.outputs(build.record), build.latency)


def _violations(evidence: Evidence, build: VariantBuild) -> Iterator[Violation]:
    if build.is_reproduced is False:
        yield Violation("V0", "the file", "came out with other bytes when it was made again", "error")
    if build.verified:
        yield from build.verified.violations
    if build.record and isinstance(evidence.base, Record):
        is_trained = build.variant is not None and build.variant.trained
        for violation in scores.suspicions(build.record, evidence.base):
            if violation.severity == "error" or not is_trained:  # which may answer otherwise, and as well
                yield violation
        if isinstance(evidence.source, Record):
            yield from scores.strays(evidence.source)
