"""Bias correction of dynamic range files as a stage; the files need no ranges, and calibration samples are optional."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

from tflq import refine
from tflq.calibrate.samples import CalibrationSamples
from tflq.errors import ConversionError, TflqError
from tflq.refine import CorrectionChoices, CorrectionData, RefinementConfig, RefinementReport
from tflq.stages.context import RunContext
from tflq.stages.state import PreparedRun
from tflq.stages.variant_build import VariantBuild
from tflq.worker import ProgressCallback, Task


def corrects_biases(build: VariantBuild) -> bool:
    """Whether the variant's file is converted without samples, and samples may correct its biases."""
    variant = build.variant
    return variant is not None and variant.reads_samples and not variant.needs_ranges


def is_correction_cached(context: RunContext, build: VariantBuild, samples: CalibrationSamples) -> bool:
    """Whether the build needs no samples to correct biases, since it has no correction or a cached one."""
    return not corrects_biases(build) or _cached(context, build, samples) is not None


def known_corrections(context: RunContext, prepared: PreparedRun) -> list[VariantBuild]:
    """Return all builds. Those of dynamic range files are corrected, if their correction is cached or impossible."""
    samples = prepared.calibration_samples
    if samples is None:
        return list(prepared.builds)
    return [
        _known(context, build, samples) if corrects_biases(build) and build.path else build for build in prepared.builds
    ]


def _known(context: RunContext, build: VariantBuild, samples: CalibrationSamples | TflqError) -> VariantBuild:
    if isinstance(samples, TflqError):
        return _uncorrected(build, samples)
    cached = _cached(context, build, samples)
    if cached is None or build.path is None:
        return build
    file, refinement = cached
    file.replace(build.path)
    return replace(build, refinement=refinement)


def needs_correction(prepared: PreparedRun, build: VariantBuild) -> bool:
    """Whether the correction of a dynamic range file is still to be made."""
    return (
        isinstance(prepared.calibration_samples, CalibrationSamples)
        and corrects_biases(build)
        and bool(build.path)
        and not build.error
        and build.refinement is None
    )


def correction(context: RunContext, build: VariantBuild, samples: CalibrationSamples) -> Task[RefinementReport]:
    """Return the task that corrects the biases of the build's file in place."""
    split = refine.split_holdout(samples.samples.number_of_calls)
    means = tuple(each.means for each in context.work.statistics.get(split.fitting, ()))
    fitting = refine.evenly_spread(split.fitting, refine.max_fitting_calls(context.float32))
    data = CorrectionData(samples.samples, fitting, split.holdout, means)
    assert build.variant is not None
    arguments = (context.float32, build.path, data, CorrectionChoices.by(build.variant))
    return Task(f"correct the layers of {build.name}", refine.correct_file, arguments, ConversionError)


def correction_if_possible(context: RunContext, build: VariantBuild, samples: CalibrationSamples) -> Task[None]:
    """Return the task of `correction`, after which a file that cannot be corrected is as it was, unless it must be."""
    task = correction(context, build, samples)
    return Task(task.stage, _correct_if_possible, task.arguments, task.error)


def _correct_if_possible(
    report: ProgressCallback, float32: Path, path: Path, data: CorrectionData, choices: CorrectionChoices
) -> None:
    try:
        refine.correct_file(report, float32, path, data, choices)
    except ConversionError:
        if choices.is_demanded:
            raise


def with_correction(
    context: RunContext, build: VariantBuild, samples: CalibrationSamples, refinement: RefinementReport | None
) -> VariantBuild:
    """Return the build after its task: corrected, or with an error or a note if the task failed."""
    if refinement is None:
        return _uncorrected(replace(build, error=None), build.error) if build.error else build
    if build.path and build.variant:
        key = context.float32, samples, build.variant
        context.cache.save_corrected((build.path, refinement), key, _new_path(context))
    return replace(build, refinement=refinement)


def _cached(
    context: RunContext, build: VariantBuild, samples: CalibrationSamples
) -> tuple[Path, RefinementReport] | None:
    assert build.variant is not None
    return context.cache.load_corrected((context.float32, samples, build.variant), _new_path(context))


def _is_demanded(build: VariantBuild) -> bool:
    return build.variant is not None and CorrectionChoices.by(build.variant).is_demanded


def _uncorrected(build: VariantBuild, error: TflqError) -> VariantBuild:
    if _is_demanded(build):
        return replace(build, error=error, path=None)
    return replace(build, refinement=RefinementReport(RefinementConfig(), (), 0, (), obstacle=str(error)))


def _new_path(context: RunContext) -> Path:
    return context.folder / uuid.uuid4().hex
