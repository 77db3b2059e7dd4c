"""Calibration as a stage: the range of every activation is computed once for all variants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tflq import flatbuffer
from tflq.calibrate import range_selection
from tflq.calibrate.attention_masks import find_masks
from tflq.calibrate.calibration_data import CalibrationData
from tflq.calibrate.lower_masks import MaskReport, lower_masks
from tflq.calibrate.observe import obstacle
from tflq.calibrate.samples import CalibrationSamples
from tflq.errors import ConversionError, TflqError
from tflq.flatbuffer.loops import LOOP
from tflq.result import FoundBy
from tflq.stages.activation_ranges import ActivationObserver, refuse_clipping
from tflq.stages.context import RunContext
from tflq.stages.recurrent_layers import quantizable_model
from tflq.stages.state import CalibrationResult, ConvertibleSource, PreparedRun
from tflq.worker import Task


def calibrate(
    context: RunContext, source: ConvertibleSource, prepared: PreparedRun
) -> CalibrationResult | TflqError | None:
    """Return the range of every activation; None if no variant needs ranges; the error if there is one."""
    samples = prepared.calibration_samples
    if samples is None or isinstance(samples, TflqError):
        return samples
    if all(build.error for build in prepared.builds if build.needs_ranges):
        return None
    try:
        if (found_by := _ranges_elsewhere(context, source)) is not None:
            return CalibrationResult(samples, context.float32, None, found_by)
        return select_ranges(context, prepared.calibration_data or observe(context, source, samples), samples)
    except TflqError as error:
        return error


def _ranges_elsewhere(context: RunContext, source: ConvertibleSource) -> FoundBy | None:
    """Return what computes the ranges in place of tflq, if anything does.

    Raises ConversionError if the recipe's method is not minmax.
    """
    method = context.calibration.method
    if context.has_own_ranges:
        refuse_clipping(method, "its fake-quantize ops set the ranges")
        return "quantization-aware training"
    if source.missing_api:
        if any(operator.type == LOOP for _, operator in flatbuffer.mapped(context.float32).operators()):
            raise ConversionError(
                "no integer file is possible with a loop (WHILE): the public converter crashes on it, and this"
                f" TensorFlow lacks internal functions that tflq uses ({source.missing_api}). Use dynamic or float16"
            )
        refuse_clipping(
            method,
            "the public converter computes the ranges; this TensorFlow version lacks internal functions that tflq uses"
            f" ({source.missing_api})",
        )
        return "the public converter"
    return None


def observe(context: RunContext, source: ConvertibleSource, samples: CalibrationSamples) -> CalibrationData:
    """Return the statistics of all activations over the samples, from the cache or from a new observation."""
    counting = context.calibration.counting
    cached = context.cache.load_ranges(context.float32, samples, context.folder / f"cached ranges, {counting}")
    if cached is not None:
        return cached
    observer = ActivationObserver(context.calibration, context.folder, context.workers, context.jobs)
    plain, recurrent = quantizable_model(context, source, samples)
    model, masks = _with_lower_masks(context, plain, samples)
    data = replace(observer.observe(model, samples), masks=masks, recurrent=recurrent)
    context.cache.save_ranges(data, (context.float32, samples), context.folder / f"new ranges, {counting}")
    return data


def _with_lower_masks(
    context: RunContext, float32: Path, samples: CalibrationSamples
) -> tuple[Path, MaskReport | None]:
    """Return the file to observe, in which attention masks are lowered, and what was lowered."""
    graph = flatbuffer.mapped(float32)
    if obstacle(graph) is not None or not find_masks(graph):
        return float32, None
    target = context.folder / "lower-masks.tflite"
    arguments = (float32, samples.samples, target)
    task = Task("lower the attention masks", lower_masks, arguments, ConversionError)
    masks = context.workers.run(task).value
    return (float32 if masks is None or masks.obstacle else target), masks


def select_ranges(context: RunContext, data: CalibrationData, samples: CalibrationSamples) -> CalibrationResult:
    """Select the range of every activation by the recipe's method, for 8-bit and 16-bit variants of the recipe."""
    variants = [variant for variant in context.recipe.variants if variant.needs_ranges and not variant.trained]
    bits = sorted({variant.activation_bits for variant in variants})
    arguments = (data, samples, context.calibration.method, bits)
    task = Task("select the ranges", range_selection.select_ranges, arguments, ConversionError)
    selected = context.workers.run(task).value
    found_by: FoundBy = "TensorFlow's calibrator" if selected.observation_obstacle else "observation"
    return CalibrationResult(samples, data.model, selected, found_by, data)
