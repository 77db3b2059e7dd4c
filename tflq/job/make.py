"""From the source to a file for every variant: loaded once, calibrated once, quantized many times."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tflq import calibrate, conversion, evaluate, flatbuffer, refine, sources, verify
from tflq.calibrate import Calibrated, Gathered
from tflq.contract import quantized_activations
from tflq.errors import ConversionError, DatasetError, EvaluationError, RecipeError, SourceError, TflqError
from tflq.job.draft import Base, Draft, each, file_name
from tflq.job.hybrid import Hybrids, reads_samples
from tflq.job.known import Begun, Calibrations, Source
from tflq.job.ranges import CRASH_REMEDY, Calibrator, refuse_clipping
from tflq.job.refine import Made, Ranged, Refiner
from tflq.job.shelf import FLOAT32, Shelf
from tflq.modes import Mode
from tflq.recipe import Recipe
from tflq.refine import Asked, is_demanded
from tflq.result import FoundBy
from tflq.selection import select
from tflq.worker import Done, Failed, Task, Workers

BASE = "float32, the base line"
ROWS, SAMPLES = "open the evaluation data", "read the calibration data"


@dataclass(frozen=True)
class Maker:
    recipe: Recipe
    folder: Path
    workers: Workers
    jobs: int
    shelf: Shelf
    made: Made = field(default_factory=Made)

    def prepare(self) -> Source:
        """The float model with its one signature, as it was kept or read anew."""
        look: Task[Any] = Task("look at the converter", conversion.missing, (), ConversionError)
        arguments = (self.recipe.model, self.recipe.inputs, self.folder / "source")
        read: Task[Any] = Task("read the source", sources.prepare, arguments, SourceError)
        kept = self.shelf.float_model(self.folder / "source")
        looked, *done = self.workers.run_all([look] if kept else [look, read], self.jobs)
        lacking = str(looked.error) if isinstance(looked, Failed) else looked.value
        return Source(kept or done[0].get(), lacking)

    def float_model(self, source: Source) -> Path:
        """The float32 file alone."""
        if not self._float32.exists():
            self.workers.run(self._conversion(Draft(self.recipe.base, BASE), source, self._float32))
            self.shelf.keep_float_model(source.prepared, self.folder / "source")
        return self._float32

    def begin(self, source: Source, makes_variants: bool) -> Begun:
        """All that needs nothing but the source, side by side; raises where nothing can be compared or measured."""
        drafts = [Draft(one, one.name) for one in self.recipe.variants if makes_variants and not one.trained]
        calibrates = any(_needs_ranges(draft) for draft in drafts)
        looks = self.recipe.calibration is not None and (calibrates or any(reads_samples(draft) for draft in drafts))
        kept = self._kept(source, drafts) if looks else None
        tasks = list(self._first_tasks(source, drafts, looks and kept is None))
        done = dict(zip([task.stage for task in tasks], self.workers.run_all(tasks, self.jobs), strict=True))
        probe = done[ROWS].get()
        if (base := done.get(_stage(BASE))) is not None:
            base.get()
            self.shelf.keep_float_model(source.prepared, self.folder / "source")
        return Begun(
            float32=self._checked_base(source),
            probe=probe,
            drafts=tuple(self._selected(self._begun(draft, done.get(_stage(draft.name)))) for draft in drafts),
            gathered=self._gathered(done[SAMPLES], source) if SAMPLES in done else kept and kept[0],
            calibrated=kept and kept[1],
        )

    def _first_tasks(self, source: Source, drafts: Sequence[Draft], reads_samples: bool) -> Iterator[Task[Any]]:
        if not self._float32.exists():
            yield self._conversion(Draft(self.recipe.base, BASE), source, self._float32)
        inputs, prepared = self.recipe.inputs, source.prepared
        yield Task(ROWS, evaluate.probe, (self.recipe.measured_on, inputs, prepared), DatasetError)
        if reads_samples:
            target = self.folder / "calibration"
            yield Task(SAMPLES, calibrate.gather, (self.recipe.calibration, inputs, prepared, target), DatasetError)
        for draft in drafts:
            if not _needs_ranges(draft) and not self._is_base(draft):
                yield self._conversion(draft, source, self.path(draft))

    def _conversion(self, draft: Draft, source: Source, target: Path) -> Task[Any]:
        function = conversion.convert_publicly if source.lacking else conversion.convert
        arguments = (source.prepared, draft.variant, target)
        return Task(_stage(draft.name), function, arguments, ConversionError)

    def _begun(self, draft: Draft, outcome: Done[Any] | Failed | None) -> Draft:
        if outcome is not None:
            return replace(draft.after(outcome), path=self.path(draft) if isinstance(outcome, Done) else None)
        if self._is_base(draft):
            return replace(draft, path=Path(shutil.copyfile(self._float32, self.path(draft))))
        return draft

    def _selected(self, draft: Draft) -> Draft:
        """The draft, with its error before anything is calibrated if what it would keep in float is not there."""
        if draft.error or draft.variant is None or not draft.variant.keep_float:
            return draft
        try:
            select(flatbuffer.load(self._float32), draft.variant.keep_float)
        except RecipeError as error:
            return replace(draft, error=error)
        return draft

    def _checked_base(self, source: Source) -> Base:
        check = Task(
            f"check {BASE}", verify.verify, (self._float32, self.recipe.base, source.prepared), EvaluationError
        )
        return Base(self._float32, self.workers.run(check).value.violations)

    def _kept(self, source: Source, drafts: Sequence[Draft]) -> tuple[Gathered, Calibrated] | None:
        """What the samples were, and the ranges that they showed, where nothing has to read them again."""
        if source.lacking or not self._float32.exists():
            return None
        gathered = self.shelf.samples(source.prepared, self.folder / "kept samples")
        calibrated = self.shelf.ranges(self._float32, gathered, self.folder / "kept ranges") if gathered else None
        if gathered is None or calibrated is None:
            return None
        if not all(self._hybrids.is_kept(draft, self._float32, gathered) for draft in drafts):
            return None
        asked = {Asked.by(draft.variant) for draft in drafts if draft.variant and _needs_ranges(draft)}
        is_done = calibrated.reason or all(one.is_plain or self._is_refined(one, gathered) for one in asked)
        return (gathered, calibrated) if is_done else None

    def _is_refined(self, asked: Asked, gathered: Gathered) -> bool:
        """Whether what is to be quantized for that was kept, so that the samples themselves are not needed."""
        folder = self.folder / f"looked up {uuid.uuid4().hex}"
        return self.shelf.refined((self._float32, gathered, asked), folder) is not None

    def _gathered(self, outcome: Done[Gathered] | Failed, source: Source) -> Gathered | TflqError:
        if isinstance(outcome, Failed):
            return outcome.error
        self.shelf.keep_samples(outcome.value, source.prepared, self.folder / "new samples")
        return outcome.value

    def calibrate(self, source: Source, begun: Begun) -> Calibrations | TflqError | None:
        """The range of every activation, taken once for all variants; None where no variant takes any."""
        gathered = begun.gathered
        if gathered is None or isinstance(gathered, TflqError):
            return gathered
        if all(draft.error for draft in begun.drafts if _needs_ranges(draft)):
            return None
        try:
            if (elsewhere := self._found_elsewhere(source)) is not None:
                return Calibrations(gathered, self._float32, None, elsewhere)
            return self.choose(begun.calibrated or self.observe(gathered), gathered)
        except TflqError as error:
            return error

    def _found_elsewhere(self, source: Source) -> FoundBy | None:
        """What else finds the ranges of this source, if anything; ConversionError where it has not the method asked."""
        assert self.recipe.calibration is not None
        method = self.recipe.calibration.method
        if self.has_ranges_of_its_own:
            refuse_clipping(method, "it holds fake quantization, so that it brings its ranges with it; write minmax")
            return "quantization-aware training"
        if source.lacking:
            refuse_clipping(
                method,
                f"this TensorFlow lacks what it takes to observe activations ({source.lacking}), so that the public"
                " converter has to find its ranges; write minmax, or install a TensorFlow that tflq knows",
            )
            return "the public converter"
        return None

    def observe(self, gathered: Gathered) -> Calibrated:
        """What the samples show of the activations, as it was kept or found anew."""
        assert self.recipe.calibration is not None
        counting = self.recipe.calibration.counting
        kept = self.shelf.ranges(self._float32, gathered, self.folder / f"found ranges, {counting}")
        if kept is not None:
            return kept
        found = Calibrator(self.recipe.calibration, self.folder, self.workers, self.jobs).find(self._float32, gathered)
        self.shelf.keep_ranges(found, (self._float32, gathered), self.folder / f"new ranges, {counting}")
        return found

    def choose(self, calibrated: Calibrated, gathered: Gathered) -> Calibrations:
        """The ranges by the recipe's method."""
        assert self.recipe.calibration is not None
        bits = sorted(
            {
                variant.activation_bits
                for variant in self.recipe.variants
                if variant.needs_ranges and not variant.trained
            }
        )
        arguments = (calibrated, gathered, self.recipe.calibration.method, bits)
        chosen = self.workers.run(Task("choose the ranges", calibrate.choose, arguments, ConversionError)).value
        found_by: FoundBy = "TensorFlow's calibrator" if chosen.reason else "observation"
        return Calibrations(gathered, calibrated.model, chosen, found_by, calibrated)

    def convert(self, source: Source, begun: Begun, calibrations: Calibrations | TflqError | None) -> list[Draft]:
        """A file for every variant that can be made."""
        begun = replace(begun, drafts=self._hybrids.corrected(begun))
        waiting = [draft for draft in begun.drafts if _needs_ranges(draft)]
        if isinstance(calibrations, TflqError):
            return [replace(draft, error=calibrations) if draft in waiting else draft for draft in begun.drafts]
        if calibrations is not None:
            calibrations = self.refine(calibrations, [draft.variant for draft in waiting if draft.variant])
            waiting = [_with_refinement(draft, calibrations) for draft in waiting]

        def task(draft: Draft) -> Task[Any]:
            return self.making(draft, source, calibrations)

        made = {
            draft.name: draft if draft.error else replace(draft, path=self.path(draft), kept=kept or ())
            for draft, kept in each(self.workers, waiting, task, self.jobs)
        }
        return [made.get(draft.name, draft) for draft in begun.drafts]

    def refine(self, calibrations: Calibrations, variants: Sequence[Mode]) -> Calibrations:
        """With what those variants are quantized from, where they ask for more than the float32 file as it is."""
        assert self.recipe.calibration is not None
        if calibrations.calibrated is None or calibrations.chosen is None or calibrations.chosen.reason:
            why = calibrations.chosen.reason if calibrations.chosen else None
            refused = ConversionError(
                "bias_correction, rounding, equalization and headroom look at activations of the float32 file, which"
                f" they cannot here, since {why or f'its ranges are those of {calibrations.found_by}'}: leave them out"
            )
            return replace(calibrations, refined={Asked.by(one): refused for one in variants if is_demanded(one)})
        calibrator = Calibrator(self.recipe.calibration, self.folder / "refined", self.workers, self.jobs)
        base = Ranged(calibrations.calibrated, self.recipe.calibration.method)
        found = Refiner(base, calibrations.gathered, calibrator, self.shelf, self.made).find(variants)
        return replace(calibrations, refined={**calibrations.refined, **found})

    def making(self, draft: Draft, source: Source, calibrations: Calibrations | None) -> Task[Any]:
        """What makes the draft's file, from ranges where its mode takes any; some tell which ops were kept in float."""
        assert draft.variant is not None
        stage, path = _stage(draft.name), self.path(draft)
        if calibrations is None or not draft.variant.needs_ranges or self.has_ranges_of_its_own:
            return self._conversion(draft, source, path)
        if calibrations.chosen:
            arguments = (calibrations.candidate(draft.variant), draft.variant, path)
            return Task(stage, refine.quantize, arguments, ConversionError)
        public = (source.prepared, draft.variant, path, calibrations.gathered.samples)
        return Task(stage, conversion.convert_publicly, public, ConversionError, remedy=CRASH_REMEDY)

    @cached_property
    def has_ranges_of_its_own(self) -> bool:
        """Whether the source holds fake quantization, as quantization-aware training leaves it."""
        return any(True for _ in quantized_activations(flatbuffer.load(self._float32)))

    @property
    def _float32(self) -> Path:
        return self.folder / "source" / FLOAT32

    @property
    def _hybrids(self) -> Hybrids:
        return Hybrids(self.folder, self.workers, self.jobs, self.shelf)

    def path(self, draft: Draft) -> Path:
        return self.folder / file_name(self.recipe, draft.name)

    def _is_base(self, draft: Draft) -> bool:
        base, variant = self.recipe.base, draft.variant
        asked = ("mode", "allow_custom_ops", "select_tf_ops")
        return all(getattr(variant, key) == getattr(base, key) for key in asked)


def make(maker: Maker, source: Source) -> list[Draft]:
    """All files of that source, where the maker works."""
    begun = maker.begin(source, makes_variants=True)
    return maker.convert(source, begun, maker.calibrate(source, begun))


def _with_refinement(draft: Draft, calibrations: Calibrations) -> Draft:
    """The draft with what its variant asks for, or with the error that this ended in."""
    assert draft.variant is not None
    refined = calibrations.refined.get(Asked.by(draft.variant))
    if isinstance(refined, TflqError):
        return replace(draft, error=draft.error or refined)
    return replace(draft, refinement=refined.refinement) if refined else draft


def _stage(name: str) -> str:
    return f"convert {name}"


def _needs_ranges(draft: Draft) -> bool:
    return draft.variant is not None and draft.variant.needs_ranges
