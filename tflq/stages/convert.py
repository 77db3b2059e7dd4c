"""Conversion as a stage: every variant that needs ranges is quantized from the refined float32 model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tflq import conversion, refine
from tflq.calibrate.samples import CalibrationSamples
from tflq.contract import NO_OPS
from tflq.errors import ConversionError, TflqError
from tflq.refine import RefinementRequest
from tflq.stages.activation_ranges import CRASH_REMEDY
from tflq.stages.calibrate import calibrate
from tflq.stages.context import RunContext
from tflq.stages.dynamic_range import correction, known_corrections, needs_correction, with_correction
from tflq.stages.prepare import conversion_stage, conversion_without_ranges, prepare_inputs
from tflq.stages.refine import refine_models
from tflq.stages.state import CalibrationResult, ConvertibleSource, PreparedRun
from tflq.stages.variant_build import VariantBuild, run_for_each
from tflq.worker import Task


def refine_variants(
    context: RunContext, prepared: PreparedRun, calibration: CalibrationResult | TflqError | None
) -> CalibrationResult | TflqError | None:
    """Return the calibration with the corrections of all variants that need ranges. An error and None stay."""
    if not isinstance(calibration, CalibrationResult):
        return calibration
    variants = [build.variant for build in prepared.builds if build.variant and build.needs_ranges]
    return refine_models(context, calibration, variants)


def convert(
    context: RunContext,
    source: ConvertibleSource,
    prepared: PreparedRun,
    calibration: CalibrationResult | TflqError | None,
) -> list[VariantBuild]:
    """Write a file for every variant; each returned build has its file or its error.

    The calibration is that of `refine_variants`.
    """
    builds, samples = known_corrections(context, prepared), prepared.calibration_samples
    waiting = [build for build in builds if build.needs_ranges]
    if isinstance(calibration, TflqError):
        waiting = [replace(build, error=build.error or calibration) for build in waiting]
    elif calibration is not None:
        waiting = [_with_refinement(build, calibration) for build in waiting]
    correcting = [build for build in builds if needs_correction(prepared, build)]

    def task(build: VariantBuild) -> Task[Any]:
        if not build.needs_ranges and isinstance(samples, CalibrationSamples):
            return correction(context, build, samples)
        assert not isinstance(calibration, TflqError)
        return conversion_task(context, source, calibration, build)

    made: dict[str, VariantBuild] = {}
    for build, value in run_for_each(context.workers, [*correcting, *waiting], task, context.jobs):
        if not build.needs_ranges and isinstance(samples, CalibrationSamples):
            made[build.name] = with_correction(context, build, samples, value)
        else:
            path = None if build.error else context.path(build)
            made[build.name] = replace(build, path=path, named_ops=value or NO_OPS)
    return [made.get(build.name, build) for build in builds]


def build_variants(context: RunContext, source: ConvertibleSource) -> list[VariantBuild]:
    """Prepare, calibrate and convert: return the builds of all variants that need no training."""
    prepared = prepare_inputs(context, source, makes_variants=True)
    refined = refine_variants(context, prepared, calibrate(context, source, prepared))
    return convert(context, source, prepared, refined)


def conversion_task(
    context: RunContext, source: ConvertibleSource, calibration: CalibrationResult | None, build: VariantBuild
) -> Task[Any]:
    """Return the task that writes the file of one variant, from ranges if its mode needs them.

    The task returns the ops that keep_float and keep_int16 name, if it quantizes the float32 model.
    """
    assert build.variant is not None
    stage, path = conversion_stage(build.name), context.path(build)
    if calibration is None or not build.needs_ranges or context.has_own_ranges:
        return conversion_without_ranges(context, source, build)
    if calibration.selected_ranges:
        arguments = (calibration.quantizer_input(build.variant), build.variant, path, context.recipe.inputs)
        return Task(stage, refine.quantize, arguments, ConversionError)
    public = (source.prepared, build.variant, path, calibration.calibration_samples.samples)
    return Task(stage, conversion.convert_publicly, public, ConversionError, remedy=CRASH_REMEDY)


def _with_refinement(build: VariantBuild, calibration: CalibrationResult) -> VariantBuild:
    """Return the build with the refinement that its variant requests, or with the error of the refinement."""
    assert build.variant is not None
    refined = calibration.refined.get(RefinementRequest.by(build.variant))
    if isinstance(refined, TflqError):
        return replace(build, error=build.error or refined)
    if refined is None:
        return replace(build, origin=calibration.model)
    return replace(build, refinement=refined.refinement, origin=refined.quantizer_input.original)
