"""Bias correction of dynamic range files as a stage; the files need no ranges, and calibration samples are optional."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tflq import refine
from tflq.calibrate import CalibrationSamples
from tflq.errors import ConversionError, TflqError
from tflq.refine import RefinementConfig, RefinementReport
from tflq.stages.context import RunContext
from tflq.stages.fitted_models import MAX_FITTING_CALLS
from tflq.stages.state import PreparedRun
from tflq.stages.variant_build import VariantBuild
from tflq.worker import Failed, Task


def corrects_biases(build: VariantBuild) -> bool:
    """Whether the variant's file is converted without samples, and samples may correct its biases."""
    variant = build.variant
    return variant is not None and variant.reads_samples and not variant.needs_ranges


def is_correction_cached(context: RunContext, build: VariantBuild, samples: CalibrationSamples) -> bool:
    """Whether the build needs no samples to correct biases, since it has no correction or a cached one."""
    return not corrects_biases(build) or _cached(context, build, samples) is not None


def correct_dynamic_range(context: RunContext, prepared: PreparedRun) -> tuple[VariantBuild, ...]:
    """Correct the biases of dynamic range files in place if there are samples, and return all builds.

    If a correction fails, a build that demands it gets the error. Any other build gets a note in the report.
    """
    samples = prepared.calibration_samples
    builds = [build for build in prepared.builds if corrects_biases(build) and build.path]
    if samples is None:
        return prepared.builds
    if isinstance(samples, TflqError):
        by_name = {build.name: _uncorrected(build, samples) for build in builds}
    else:
        by_name = _corrected(context, builds, samples)
    return tuple(by_name.get(build.name, build) for build in prepared.builds)


def _corrected(
    context: RunContext, builds: Sequence[VariantBuild], samples: CalibrationSamples
) -> dict[str, VariantBuild]:
    corrected: dict[str, VariantBuild] = {}
    for build in builds:
        if build.path and (cached := _cached(context, build, samples)):
            file, refinement = cached
            file.replace(build.path)
            corrected[build.name] = replace(build, refinement=refinement)
    rest = [build for build in builds if build.name not in corrected]
    outcomes = context.workers.run_all([_correction(context, build, samples) for build in rest], context.jobs)
    for build, outcome in zip(rest, outcomes, strict=True):
        after = replace(build, seconds=build.seconds + outcome.seconds)
        if isinstance(outcome, Failed):
            corrected[build.name] = _uncorrected(after, outcome.error)
        elif build.path and build.variant:
            corrected[build.name] = replace(after, refinement=outcome.value)
            key = context.float32, samples, build.variant
            context.cache.save_corrected((build.path, outcome.value), key, _new_path(context))
    return corrected


def _correction(context: RunContext, build: VariantBuild, samples: CalibrationSamples) -> Task[RefinementReport]:
    split = refine.split_holdout(samples.samples.number_of_calls)
    data = samples.samples, split.fitting[:: -(-len(split.fitting) // MAX_FITTING_CALLS)], split.holdout
    arguments = (context.float32, build.path, data, _is_demanded(build))
    return Task(f"correct the biases of {build.name}", refine.correct_biases, arguments, ConversionError)


def _cached(
    context: RunContext, build: VariantBuild, samples: CalibrationSamples
) -> tuple[Path, RefinementReport] | None:
    assert build.variant is not None
    return context.cache.load_corrected((context.float32, samples, build.variant), _new_path(context))


def _is_demanded(build: VariantBuild) -> bool:
    return build.variant is not None and build.variant.bias_correction == "on"


def _uncorrected(build: VariantBuild, error: TflqError) -> VariantBuild:
    if _is_demanded(build):
        return replace(build, error=error, path=None)
    return replace(build, refinement=RefinementReport(RefinementConfig(), (), 0, (), obstacle=str(error)))


def _new_path(context: RunContext) -> Path:
    return context.folder / uuid.uuid4().hex
