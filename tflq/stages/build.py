"""From the source to a file for every variant: loaded once, calibrated once, quantized many times."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tflq import calibrate, convert, evaluate, flatbuffer, refine, sources, verify
from tflq.calibrate import CalibrationData, CalibrationSamples
from tflq.contract import quantized_activations
from tflq.errors import ConversionError, DatasetError, EvaluationError, RecipeError, SourceError, TflqError
from tflq.modes import Mode
from tflq.recipe import Recipe
from tflq.refine import RefinementRequest, is_demanded
from tflq.result import FoundBy
from tflq.selection import select
from tflq.stages.activation_ranges import CRASH_REMEDY, Calibrator, refuse_clipping
from tflq.stages.dynamic_range import Hybrids, reads_samples
from tflq.stages.recipe_cache import FLOAT32, RecipeCache
from tflq.stages.refine import ModelWithRanges, RefinementWork, Refiner
from tflq.stages.state import CalibrationResult, ConvertibleSource, PreparedRun
from tflq.stages.variant_build import Float32Baseline, VariantBuild, file_name, run_for_each
from tflq.worker import Done, Failed, Task, Workers

BASE = "float32, the base line"
ROWS, SAMPLES = "open the evaluation data", "read the calibration data"


@dataclass(frozen=True)
class Maker:
    recipe: Recipe
    folder: Path
    workers: Workers
    jobs: int
    recipe_cache: RecipeCache
    made: RefinementWork = field(default_factory=RefinementWork)

    def prepare(self) -> ConvertibleSource:
        """The float model with its one signature, as it was kept or read anew."""
        look: Task[Any] = Task("look at the converter", convert.missing, (), ConversionError)
        arguments = (self.recipe.model, self.recipe.inputs, self.folder / "source")
        read: Task[Any] = Task("read the source", sources.prepare, arguments, SourceError)
        kept = self.recipe_cache.load_float_model(self.folder / "source")
        looked, *done = self.workers.run_all([look] if kept else [look, read], self.jobs)
        lacking = str(looked.error) if isinstance(looked, Failed) else looked.value
        return ConvertibleSource(kept or done[0].get(), lacking)

    def float_model(self, source: ConvertibleSource) -> Path:
        """The float32 file alone."""
        if not self._float32.exists():
            self.workers.run(self._conversion(VariantBuild(self.recipe.base, BASE), source, self._float32))
            self.recipe_cache.save_float_model(source.prepared, self.folder / "source")
        return self._float32

    def begin(self, source: ConvertibleSource, makes_variants: bool) -> PreparedRun:
        """All that needs nothing but the source, side by side; raises where nothing can be compared or measured."""
        builds = [VariantBuild(one, one.name) for one in self.recipe.variants if makes_variants and not one.trained]
        calibrates = any(_needs_ranges(build) for build in builds)
        looks = self.recipe.calibration is not None and (calibrates or any(reads_samples(build) for build in builds))
        kept = self._kept(source, builds) if looks else None
        tasks = list(self._first_tasks(source, builds, looks and kept is None))
        done = dict(zip([task.stage for task in tasks], self.workers.run_all(tasks, self.jobs), strict=True))
        probe = done[ROWS].get()
        if (base := done.get(_stage(BASE))) is not None:
            base.get()
            self.recipe_cache.save_float_model(source.prepared, self.folder / "source")
        return PreparedRun(
            float32=self._checked_base(source),
            probe=probe,
            builds=tuple(self._selected(self._begun(build, done.get(_stage(build.name)))) for build in builds),
            calibration_samples=self._gathered(done[SAMPLES], source) if SAMPLES in done else kept and kept[0],
            calibration_data=kept and kept[1],
        )

    def _first_tasks(
        self, source: ConvertibleSource, builds: Sequence[VariantBuild], reads_samples: bool
    ) -> Iterator[Task[Any]]:
        if not self._float32.exists():
            yield self._conversion(VariantBuild(self.recipe.base, BASE), source, self._float32)
        inputs, prepared = self.recipe.inputs, source.prepared
        yield Task(ROWS, evaluate.probe, (self.recipe.measured_on, inputs, prepared), DatasetError)
        if reads_samples:
            target = self.folder / "calibration"
            yield Task(
                SAMPLES, calibrate.read_samples, (self.recipe.calibration, inputs, prepared, target), DatasetError
            )
        for build in builds:
            if not _needs_ranges(build) and not self._is_base(build):
                yield self._conversion(build, source, self.path(build))

    def _conversion(self, build: VariantBuild, source: ConvertibleSource, target: Path) -> Task[Any]:
        function = convert.convert_publicly if source.missing_api else convert.convert
        arguments = (source.prepared, build.variant, target)
        return Task(_stage(build.name), function, arguments, ConversionError)

    def _begun(self, build: VariantBuild, outcome: Done[Any] | Failed | None) -> VariantBuild:
        if outcome is not None:
            return replace(build.with_outcome(outcome), path=self.path(build) if isinstance(outcome, Done) else None)
        if self._is_base(build):
            return replace(build, path=Path(shutil.copyfile(self._float32, self.path(build))))
        return build

    def _selected(self, build: VariantBuild) -> VariantBuild:
        """The build, with its error before anything is calibrated if what it would keep in float is not there."""
        if build.error or build.variant is None or not build.variant.keep_float:
            return build
        try:
            select(flatbuffer.load(self._float32), build.variant.keep_float)
        except RecipeError as error:
            return replace(build, error=error)
        return build

    def _checked_base(self, source: ConvertibleSource) -> Float32Baseline:
        check = Task(
            f"check {BASE}", verify.verify, (self._float32, self.recipe.base, source.prepared), EvaluationError
        )
        return Float32Baseline(self._float32, self.workers.run(check).value.violations)

    def _kept(
        self, source: ConvertibleSource, builds: Sequence[VariantBuild]
    ) -> tuple[CalibrationSamples, CalibrationData] | None:
        """What the samples were, and the ranges that they showed, where nothing has to read them again."""
        if source.missing_api or not self._float32.exists():
            return None
        calibration_samples = self.recipe_cache.load_samples(source.prepared, self.folder / "kept samples")
        calibration_data = (
            self.recipe_cache.load_ranges(self._float32, calibration_samples, self.folder / "kept ranges")
            if calibration_samples
            else None
        )
        if calibration_samples is None or calibration_data is None:
            return None
        if not all(self._hybrids.is_kept(build, self._float32, calibration_samples) for build in builds):
            return None
        asked = {RefinementRequest.by(build.variant) for build in builds if build.variant and _needs_ranges(build)}
        is_done = calibration_data.observation_obstacle or all(
            one.is_noop or self._is_refined(one, calibration_samples) for one in asked
        )
        return (calibration_samples, calibration_data) if is_done else None

    def _is_refined(self, asked: RefinementRequest, calibration_samples: CalibrationSamples) -> bool:
        """Whether what is to be quantized for that was kept, so that the samples themselves are not needed."""
        folder = self.folder / f"looked up {uuid.uuid4().hex}"
        return self.recipe_cache.load_refined((self._float32, calibration_samples, asked), folder) is not None

    def _gathered(
        self, outcome: Done[CalibrationSamples] | Failed, source: ConvertibleSource
    ) -> CalibrationSamples | TflqError:
        if isinstance(outcome, Failed):
            return outcome.error
        self.recipe_cache.save_samples(outcome.value, source.prepared, self.folder / "new samples")
        return outcome.value

    def calibrate(self, source: ConvertibleSource, prepared_run: PreparedRun) -> CalibrationResult | TflqError | None:
        """The range of every activation, taken once for all variants; None where no variant takes any."""
        calibration_samples = prepared_run.calibration_samples
        if calibration_samples is None or isinstance(calibration_samples, TflqError):
            return calibration_samples
        if all(build.error for build in prepared_run.builds if _needs_ranges(build)):
            return None
        try:
            if (elsewhere := self._found_elsewhere(source)) is not None:
                return CalibrationResult(calibration_samples, self._float32, None, elsewhere)
            return self.select_ranges(
                prepared_run.calibration_data or self.observe(calibration_samples), calibration_samples
            )
        except TflqError as error:
            return error

    def _found_elsewhere(self, source: ConvertibleSource) -> FoundBy | None:
        """What else finds the ranges of this source, if anything; ConversionError where it has not the method asked."""
        assert self.recipe.calibration is not None
        method = self.recipe.calibration.method
        if self.has_ranges_of_its_own:
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

    def observe(self, calibration_samples: CalibrationSamples) -> CalibrationData:
        """What the samples show of the activations, as it was kept or found anew."""
        assert self.recipe.calibration is not None
        counting = self.recipe.calibration.counting
        kept = self.recipe_cache.load_ranges(
            self._float32, calibration_samples, self.folder / f"found ranges, {counting}"
        )
        if kept is not None:
            return kept
        found = Calibrator(self.recipe.calibration, self.folder, self.workers, self.jobs).find(
            self._float32, calibration_samples
        )
        self.recipe_cache.save_ranges(
            found, (self._float32, calibration_samples), self.folder / f"new ranges, {counting}"
        )
        return found

    def select_ranges(
        self, calibration_data: CalibrationData, calibration_samples: CalibrationSamples
    ) -> CalibrationResult:
        """The ranges by the recipe's method."""
        assert self.recipe.calibration is not None
        bits = sorted(
            {
                variant.activation_bits
                for variant in self.recipe.variants
                if variant.needs_ranges and not variant.trained
            }
        )
        arguments = (calibration_data, calibration_samples, self.recipe.calibration.method, bits)
        selected_ranges = self.workers.run(
            Task("choose the ranges", calibrate.select_ranges, arguments, ConversionError)
        ).value
        found_by: FoundBy = "TensorFlow's calibrator" if selected_ranges.observation_obstacle else "observation"
        return CalibrationResult(
            calibration_samples, calibration_data.model, selected_ranges, found_by, calibration_data
        )

    def convert(
        self,
        source: ConvertibleSource,
        prepared_run: PreparedRun,
        calibration_result: CalibrationResult | TflqError | None,
    ) -> list[VariantBuild]:
        """A file for every variant that can be made."""
        prepared_run = replace(prepared_run, builds=self._hybrids.corrected(prepared_run))
        waiting = [build for build in prepared_run.builds if _needs_ranges(build)]
        if isinstance(calibration_result, TflqError):
            return [
                replace(build, error=calibration_result) if build in waiting else build for build in prepared_run.builds
            ]
        if calibration_result is not None:
            calibration_result = self.refine(calibration_result, [build.variant for build in waiting if build.variant])
            waiting = [_with_refinement(build, calibration_result) for build in waiting]

        def task(build: VariantBuild) -> Task[Any]:
            return self.making(build, source, calibration_result)

        made = {
            build.name: build if build.error else replace(build, path=self.path(build), kept_in_float=kept or ())
            for build, kept in run_for_each(self.workers, waiting, task, self.jobs)
        }
        return [made.get(build.name, build) for build in prepared_run.builds]

    def refine(self, calibration_result: CalibrationResult, variants: Sequence[Mode]) -> CalibrationResult:
        """With what those variants are quantized from, where they ask for more than the float32 file as it is."""
        assert self.recipe.calibration is not None
        if (
            calibration_result.calibration_data is None
            or calibration_result.selected_ranges is None
            or calibration_result.selected_ranges.observation_obstacle
        ):
            why = (
                calibration_result.selected_ranges.observation_obstacle if calibration_result.selected_ranges else None
            )
            refused = ConversionError(
                "bias_correction, rounding, equalization and headroom need the activations of the float32 model,"
                f" which are not available: {why or f'its ranges come from {calibration_result.found_by}'}."
                " Remove these keys or set them to auto."
            )
            return replace(
                calibration_result, refined={RefinementRequest.by(one): refused for one in variants if is_demanded(one)}
            )
        calibrator = Calibrator(self.recipe.calibration, self.folder / "refined", self.workers, self.jobs)
        base = ModelWithRanges(calibration_result.calibration_data, self.recipe.calibration.method)
        found = Refiner(base, calibration_result.calibration_samples, calibrator, self.recipe_cache, self.made).find(
            variants
        )
        return replace(calibration_result, refined={**calibration_result.refined, **found})

    def making(
        self, build: VariantBuild, source: ConvertibleSource, calibration_result: CalibrationResult | None
    ) -> Task[Any]:
        """What makes the build's file, from ranges where its mode takes any; some tell which ops were kept in float."""
        assert build.variant is not None
        stage, path = _stage(build.name), self.path(build)
        if calibration_result is None or not build.variant.needs_ranges or self.has_ranges_of_its_own:
            return self._conversion(build, source, path)
        if calibration_result.selected_ranges:
            arguments = (calibration_result.quantizer_input(build.variant), build.variant, path)
            return Task(stage, refine.quantize, arguments, ConversionError)
        public = (source.prepared, build.variant, path, calibration_result.calibration_samples.samples)
        return Task(stage, convert.convert_publicly, public, ConversionError, remedy=CRASH_REMEDY)

    @cached_property
    def has_ranges_of_its_own(self) -> bool:
        """Whether the source holds fake quantization, as quantization-aware training leaves it."""
        return any(True for _ in quantized_activations(flatbuffer.load(self._float32)))

    @property
    def _float32(self) -> Path:
        return self.folder / "source" / FLOAT32

    @property
    def _hybrids(self) -> Hybrids:
        return Hybrids(self.folder, self.workers, self.jobs, self.recipe_cache)

    def path(self, build: VariantBuild) -> Path:
        return self.folder / file_name(self.recipe, build.name)

    def _is_base(self, build: VariantBuild) -> bool:
        base, variant = self.recipe.base, build.variant
        asked = ("mode", "allow_custom_ops", "select_tf_ops")
        return all(getattr(variant, key) == getattr(base, key) for key in asked)


def make(maker: Maker, source: ConvertibleSource) -> list[VariantBuild]:
    """All files of that source, where the maker works."""
    prepared_run = maker.begin(source, makes_variants=True)
    return maker.convert(source, prepared_run, maker.calibrate(source, prepared_run))


def _with_refinement(build: VariantBuild, calibration_result: CalibrationResult) -> VariantBuild:
    """The build with what its variant asks for, or with the error that this ended in."""
    assert build.variant is not None
    refined = calibration_result.refined.get(RefinementRequest.by(build.variant))
    if isinstance(refined, TflqError):
        return replace(build, error=build.error or refined)
    return replace(build, refinement=refined.refinement) if refined else build


def _stage(name: str) -> str:
    return f"convert {name}"


def _needs_ranges(build: VariantBuild) -> bool:
    return build.variant is not None and build.variant.needs_ranges
