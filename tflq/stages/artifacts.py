"""The stage that makes the files for firmware, and that takes out of the files what no kernel reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tflq.errors import EvaluationError, TflqError
from tflq.firmware.io_row import with_preprocessing
from tflq.firmware.making import FirmwareFiles, make_artifacts
from tflq.stages.context import RunContext
from tflq.stages.sample_calls import sample_calls
from tflq.stages.state import ConvertibleSource, PreparedRun
from tflq.stages.variant_build import VariantBuild, run_for_each
from tflq.worker import Task

Call = Mapping[str, np.ndarray]


def write_artifacts(
    context: RunContext, builds: Sequence[VariantBuild], source: ConvertibleSource, prepared: PreparedRun
) -> list[VariantBuild]:
    """Return the builds with their source files, and with the size of the stripped file. A given file is left alone."""
    artifacts = context.recipe.artifacts
    waiting = [build for build in builds if build.variant and build.verified and not build.error]
    if not waiting or not (artifacts.c_array or artifacts.strip):
        return list(builds)
    calls = sample_calls(context, source.prepared, prepared)
    if isinstance(calls, TflqError):
        return [replace(build, error=build.error or calls) for build in builds]

    def task(build: VariantBuild) -> Task[FirmwareFiles]:
        assert build.verified is not None
        rows = with_preprocessing(build.verified.file.io, context.recipe.inputs)
        arguments = (build.path, artifacts, rows, calls)
        return Task(f"write the artifacts of {build.name}", make_artifacts, arguments, EvaluationError)

    made = dict(_with_files(*pair) for pair in run_for_each(context.workers, waiting, task, context.jobs))
    return [made.get(build.name, build) for build in builds]


def _with_files(build: VariantBuild, files: FirmwareFiles | None) -> tuple[str, VariantBuild]:
    if files is None or build.verified is None:
        return build.name, build
    file = replace(build.verified.file, size_bytes=files.size_bytes, sha256=files.sha256)
    return build.name, replace(
        build,
        verified=replace(build.verified, file=file),
        targets=tuple(verdict.with_size(files.size_bytes) for verdict in build.targets),
        artifacts=files.names,
    )
