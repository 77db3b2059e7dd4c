"""Calibration as a stage: the range of every activation, found once for all variants."""

from __future__ import annotations

from tflq import calibrate as calibration
from tflq.calibrate import CalibrationData, CalibrationSamples
from tflq.errors import ConversionError, TflqError
from tflq.result import FoundBy
from tflq.stages.activation_ranges import Calibrator, refuse_clipping
from tflq.stages.context import RunContext
from tflq.stages.state import CalibrationResult, ConvertibleSource, PreparedRun
from tflq.worker import Task


def calibrate(
    context: RunContext, source: ConvertibleSource, prepared: PreparedRun
) -> CalibrationResult | TflqError | None:
    """Find the range of every activation; None if no variant needs ranges, an error if they cannot be found."""
    samples = prepared.calibration_samples
    if samples is None or isinstance(samples, TflqError):
        return samples
    if all(build.error for build in prepared.builds if build.needs_ranges):
        return None
    try:
        if (other := _other_source_of_ranges(context, source)) is not None:
            return CalibrationResult(samples, context.float32, None, other)
        return select_ranges(context, prepared.calibration_data or observe(context, samples), samples)
    except TflqError as error:
        return error


def _other_source_of_ranges(context: RunContext, source: ConvertibleSource) -> FoundBy | None:
    """What else finds the ranges of this source, if anything; ConversionError if that has not the recipe's method."""
    method = context.calibration.method
    if context.has_own_ranges:
        refuse_clipping(method, "it holds fake quantization, so that it brings its ranges with it; write minmax")
        return "quantization-aware training"
    if source.missing_api:
        refuse_clipping(
            method,
            f"this TensorFlow lacks what it takes to observe activations ({source.missing_api}), so that the public"
            " converter has to find its ranges; write minmax, or install a TensorFlow that tflq knows",
        )
        return "the public converter"
    return None


def observe(context: RunContext, samples: CalibrationSamples) -> CalibrationData:
    """Return the statistics of all activations over the samples, from the cache or observed anew."""
    counting = context.calibration.counting
    cached = context.cache.load_ranges(context.float32, samples, context.folder / f"found ranges, {counting}")
    if cached is not None:
        return cached
    calibrator = Calibrator(context.calibration, context.folder, context.workers, context.jobs)
    data = calibrator.find(context.float32, samples)
    context.cache.save_ranges(data, (context.float32, samples), context.folder / f"new ranges, {counting}")
    return data


def select_ranges(context: RunContext, data: CalibrationData, samples: CalibrationSamples) -> CalibrationResult:
    """Select the range of every activation by the recipe's method, for each width of activations in the recipe."""
    variants = [one for one in context.recipe.variants if one.needs_ranges and not one.trained]
    bits = sorted({variant.activation_bits for variant in variants})
    arguments = (data, samples, context.calibration.method, bits)
    task = Task("choose the ranges", calibration.select_ranges, arguments, ConversionError)
    selected = context.workers.run(task).value
    found_by: FoundBy = "TensorFlow's calibrator" if selected.observation_obstacle else "observation"
    return CalibrationResult(samples, data.model, selected, found_by, data)
