"""Files of mode dynamic, which no ranges are needed for, corrected by calibration samples where there are any."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tflq import refine
from tflq.calibrate import CalibrationSamples
from tflq.errors import ConversionError, TflqError
from tflq.refine import Refinement, RefinementConfig
from tflq.stages.recipe_cache import RecipeCache
from tflq.stages.refine import FIT
from tflq.stages.state import PreparedRun
from tflq.stages.variant_build import VariantBuild
from tflq.worker import Failed, Task, Workers


def reads_samples(build: VariantBuild) -> bool:
    """Whether its file is made without samples, and may be corrected by them."""
    variant = build.variant
    return variant is not None and variant.reads_samples and not variant.needs_ranges


@dataclass(frozen=True)
class Hybrids:
    folder: Path
    workers: Workers
    jobs: int
    recipe_cache: RecipeCache

    def is_kept(self, build: VariantBuild, float32: Path, calibration_samples: CalibrationSamples) -> bool:
        """Whether no samples are needed for the build's file, or what they make of it was kept."""
        return not reads_samples(build) or self._found(build, float32, calibration_samples) is not None

    def corrected(self, prepared_run: PreparedRun) -> tuple[VariantBuild, ...]:
        """All builds, the files of those that ask for it corrected in place; as they are where there are no samples.

        What cannot be tried is an error of a build that demands it, and is told of any other.
        """
        calibration_samples = prepared_run.calibration_samples
        asking = [build for build in prepared_run.builds if reads_samples(build) and build.path]
        if calibration_samples is None:
            return prepared_run.builds
        if isinstance(calibration_samples, TflqError):
            new = {build.name: _unchanged(build, calibration_samples) for build in asking}
        else:
            new = self._corrected(asking, prepared_run.float32.path, calibration_samples)
        return tuple(new.get(build.name, build) for build in prepared_run.builds)

    def _corrected(
        self, builds: Sequence[VariantBuild], float32: Path, calibration_samples: CalibrationSamples
    ) -> dict[str, VariantBuild]:
        done: dict[str, VariantBuild] = {}
        for build in builds:
            if build.path and (found := self._found(build, float32, calibration_samples)):
                found[0].replace(build.path)
                done[build.name] = replace(build, refinement=found[1])
        rest = [build for build in builds if build.name not in done]
        outcomes = self.workers.run_all([_correcting(build, float32, calibration_samples) for build in rest], self.jobs)
        for build, outcome in zip(rest, outcomes, strict=True):
            after = replace(build, seconds=build.seconds + outcome.seconds)
            if isinstance(outcome, Failed):
                done[build.name] = _unchanged(after, outcome.error)
            elif build.path and build.variant:
                done[build.name] = replace(after, refinement=outcome.value)
                key = float32, calibration_samples, build.variant
                self.recipe_cache.save_corrected((build.path, outcome.value), key, self._new())
        return done

    def _found(
        self, build: VariantBuild, float32: Path, calibration_samples: CalibrationSamples
    ) -> tuple[Path, Refinement] | None:
        assert build.variant is not None
        return self.recipe_cache.load_corrected((float32, calibration_samples, build.variant), self._new())

    def _new(self) -> Path:
        return self.folder / uuid.uuid4().hex


def _correcting(build: VariantBuild, float32: Path, calibration_samples: CalibrationSamples) -> Task[Refinement]:
    fitted, held = refine.split_holdout(calibration_samples.samples.number_of_calls)
    data = calibration_samples.samples, fitted[:: -(-len(fitted) // FIT)], held
    arguments = (float32, build.path, data, _demands(build))
    return Task(f"correct the biases of {build.name}", refine.correct_biases, arguments, ConversionError)


def _demands(build: VariantBuild) -> bool:
    return build.variant is not None and build.variant.bias_correction == "on"


def _unchanged(build: VariantBuild, error: TflqError) -> VariantBuild:
    if _demands(build):
        return replace(build, error=error, path=None)
    return replace(build, refinement=Refinement(RefinementConfig(), (), 0, (), str(error)))
