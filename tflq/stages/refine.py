"""What each variant is quantized from: the float32 file as it is, or changed so that less is lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tflq import refine
from tflq.calibrate import CalibrationData, CalibrationSamples, Counting, Method, Range, RangeMethod
from tflq.errors import ConversionError, TflqError
from tflq.modes import Mode
from tflq.refine import (
    CorrectedModel,
    CorrectionFlags,
    HoldoutScore,
    QuantizerInput,
    RefinedInput,
    Refinement,
    RefinementConfig,
    RefinementRequest,
    SignalAndNoise,
    WeightGranularity,
)
from tflq.stages.activation_ranges import Calibrator, HoldoutSplit, SplitCalibration, split_calibration
from tflq.stages.recipe_cache import RecipeCache
from tflq.worker import Failed, Task

FIT = 64
"""Calls that layers are fitted to, at most; more change little."""


@dataclass(frozen=True)
class RefinementWork:
    """What was made of one float32 file and the samples, which serves ranges by every method, and every variant."""

    equalized: dict[Counting, CalibrationData] = field(default_factory=dict)
    corrected: dict[tuple[Path, WeightGranularity, CorrectionFlags], CorrectedModel] = field(default_factory=dict)
    split_calibration: dict[Path, SplitCalibration] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelWithRanges:
    """A float32 file with what its activations are."""

    calibration_data: CalibrationData
    method: Method
    """The recipe's, of its ranges."""
    split_calibration: SplitCalibration | None = None
    """What the calls show that all is fitted to, where that method spans all values."""
    _known: dict[tuple[RangeMethod, bool], tuple[Range, ...]] = field(default_factory=dict, init=False, repr=False)

    def ranges(self, asked: RefinementRequest, config: RefinementConfig, is_held: bool = False) -> tuple[Range, ...]:
        """Of all calls, or, where some are held back that are to decide, of the others."""
        span = RangeMethod(
            "mse" if config.mse and self.split_calibration else self.method, asked.bits, config.headroom == "expected"
        )
        if (span, is_held) not in self._known:
            self._known[span, is_held] = self._shown(is_held).ranges(span)
        found = self._known[span, is_held]
        return found if config.headroom == "expected" else refine.scale_ranges(found, config.headroom)

    def _shown(self, is_held: bool) -> CalibrationData:
        if self.split_calibration is None:
            return self.calibration_data
        return self.split_calibration.fitted if is_held else self.split_calibration.whole


@dataclass(frozen=True)
class CandidateModels:
    """All that may be quantized."""

    bases: Mapping[bool, ModelWithRanges]
    """The float32 file as it is, and where that is asked for equalized."""
    corrected: Mapping[tuple[Path, WeightGranularity, CorrectionFlags], CorrectedModel]
    """By the file whose layers they are of."""

    def quantizer_input(
        self, asked: RefinementRequest, config: RefinementConfig, is_held: bool = False
    ) -> QuantizerInput:
        base, corrected = self.bases[config.equalization], self.corrected_for(asked, config)
        original = base.calibration_data.model
        return QuantizerInput(corrected.path if corrected else original, original, base.ranges(asked, config, is_held))

    def corrected_for(self, asked: RefinementRequest, config: RefinementConfig) -> CorrectedModel | None:
        return self.corrected.get(
            (self.bases[config.equalization].calibration_data.model, asked.granularity, config.corrections)
        )


@dataclass(frozen=True)
class HoldoutComparison:
    """What is held against each other, for each thing that variants ask for."""

    wanted: Mapping[RefinementRequest, Mode]
    models: CandidateModels
    fitted: Sequence[int]
    """Calls that all is fitted to."""
    held: Sequence[int]
    """Calls that had no part in it, which decide."""
    found: Mapping[RefinementRequest, list[HoldoutScore | TflqError]]

    def best(self, asked: RefinementRequest) -> HoldoutScore | None:
        """None where nothing was tried, or what all is held against failed."""
        found = self.found[asked]
        attempts = [one for one in found if isinstance(one, HoldoutScore)]
        return refine.best_score(attempts) if attempts and attempts[0] is found[0] else None


@dataclass(frozen=True)
class Refiner:
    base: ModelWithRanges
    calibration_samples: CalibrationSamples
    calibrator: Calibrator
    recipe_cache: RecipeCache
    made: RefinementWork

    def find(self, variants: Iterable[Mode]) -> dict[RefinementRequest, RefinedInput | TflqError]:
        """For all that variants ask for, where they ask for anything, what they are quantized from."""
        wanted = {asked: variant for variant in variants if not (asked := RefinementRequest.by(variant)).is_noop}
        kept = {
            asked: found for asked in wanted if (found := self.recipe_cache.load_refined(self._key(asked), self._new()))
        }
        made = self._made({asked: variant for asked, variant in wanted.items() if asked not in kept})
        for asked, refined in made.items():
            if isinstance(refined, RefinedInput):
                self.recipe_cache.save_refined(refined, self._key(asked), self._new())
        return {**kept, **made}

    def _made(self, wanted: Mapping[RefinementRequest, Mode]) -> dict[RefinementRequest, RefinedInput | TflqError]:
        if not wanted:
            return {}
        fitted, held = refine.split_holdout(self.calibration_samples.samples.number_of_calls)
        try:
            models = self._stock(wanted, (fitted, held))
        except TflqError as error:
            return {asked: self._as_it_is(asked, str(error)) or error for asked in wanted}
        comparison = HoldoutComparison(wanted, models, fitted, held, {asked: [] for asked in wanted})
        if held:
            self._judge(comparison)
        return {asked: self._best(asked, comparison) for asked in wanted}

    def _stock(self, wanted: Iterable[RefinementRequest], parts: HoldoutSplit) -> CandidateModels:
        configs = [(asked, config) for asked in wanted for config in self._choices(asked)]
        bases: dict[bool, ModelWithRanges] = {}
        for is_equalized in sorted({False, *(config.equalization for _, config in configs)}):
            base = self._equalized(_thinned(parts[0])) if is_equalized else self.base
            some = [(asked, config) for asked, config in configs if config.equalization == is_equalized]
            bases[is_equalized] = self._fitted(base, some, parts)
        return CandidateModels(bases, self.made.corrected)

    def _equalized(self, fitted: Sequence[int]) -> ModelWithRanges:
        made, counting = self.made.equalized, self.calibrator.calibration.counting
        if counting not in made:
            model = next((other.model for other in made.values()), None)
            if model is None:
                arguments = (self._float32, (self.calibration_samples.samples, fitted), self._new())
                (found,) = self._all([Task("equalize the channels", refine.equalize, arguments, ConversionError)])
                model = found.path
            made[counting] = self.calibrator.find(model, self.calibration_samples, counts_few=False)
        return ModelWithRanges(made[counting], self.base.method)

    def _fitted(
        self, base: ModelWithRanges, configs: Sequence[tuple[RefinementRequest, RefinementConfig]], parts: HoldoutSplit
    ) -> ModelWithRanges:
        """With what some calls show where others are held back; the layers are corrected meanwhile."""
        whole, samples, made = base.calibration_data, self.calibration_samples.samples, self.made
        is_parted = self._spans_all and bool(parts[1])
        targets, counting = self._targets(whole.model, configs), list[Task[Any]]()
        if is_parted and any(config.mse for _, config in configs) and whole.model not in made.split_calibration:
            counting = self.calibrator.counting(whole, samples, parts)
        correcting = [
            self._correcting(whole.model, granularity, some, _thinned(parts[0]))
            for granularity, some in targets.items()
        ]
        done = self._all([*correcting, *counting])
        for granularity, files in zip(targets, done, strict=False):
            made.corrected.update({(whole.model, granularity, one): file for one, file in files.items()})
        if counting:
            made.split_calibration[whole.model] = split_calibration(whole, parts[0], done[len(targets) :])
        if not is_parted:
            return base
        return replace(
            base, split_calibration=made.split_calibration.get(whole.model, SplitCalibration(whole, whole.of(parts[0])))
        )

    def _targets(
        self, model: Path, configs: Iterable[tuple[RefinementRequest, RefinementConfig]]
    ) -> dict[WeightGranularity, dict[CorrectionFlags, Path]]:
        """Where the files go that are not made yet."""
        targets: dict[WeightGranularity, dict[CorrectionFlags, Path]] = {}
        for asked, config in configs:
            granularity, corrections = asked.granularity, config.corrections
            if corrections != CorrectionFlags() and (model, granularity, corrections) not in self.made.corrected:
                targets.setdefault(granularity, {}).setdefault(corrections, self._new())
        return targets

    def _correcting(
        self,
        model: Path,
        granularity: WeightGranularity,
        targets: Mapping[CorrectionFlags, Path],
        fitted: Sequence[int],
    ) -> Task[dict[CorrectionFlags, CorrectedModel]]:
        file = "the equalized" if model != self._float32 else "the float32"
        stage = f"fit the layers of {file} file{granularity.in_words}"
        arguments = (model, (self.calibration_samples.samples, fitted), granularity, targets)
        return Task(stage, refine.correct, arguments, ConversionError)

    def _judge(self, comparison: HoldoutComparison) -> None:
        """Find how near to the float model each thing comes that may be done, where there is a choice."""
        tries = [(one, config) for one in comparison.wanted if len(some := self._choices(one)) > 1 for config in some]
        tasks = [self._comparing(asked, config, comparison) for asked, config in tries]
        outcomes = self.calibrator.workers.run_all(tasks, self.calibrator.jobs)
        for (asked, config), outcome in zip(tries, outcomes, strict=True):
            attempt = outcome.error if isinstance(outcome, Failed) else HoldoutScore(config, outcome.value)
            comparison.found[asked].append(attempt)

    def _comparing(
        self, asked: RefinementRequest, config: RefinementConfig, comparison: HoldoutComparison
    ) -> Task[dict[str, SignalAndNoise]]:
        """Ranges are not of the calls that decide, where that can be had, since they have to do for what is new."""
        variant = comparison.wanted[asked]
        quantizer_input = comparison.models.quantizer_input(asked, config, is_held=True)
        arguments = (
            quantizer_input,
            variant,
            self._float32,
            (self.calibration_samples.samples, comparison.held, self._new()),
        )
        return Task(f"compare {variant.name}, {config.in_words}", refine.holdout_fidelity, arguments, ConversionError)

    @property
    def _spans_all(self) -> bool:
        """Whether ranges leave out no value unless that proves itself; those of some calls can be had then."""
        return self.calibrator.calibration.method == "minmax"

    def _choices(self, asked: RefinementRequest) -> tuple[RefinementConfig, ...]:
        return asked.configs_to_compare(ranges_are_open=self.calibrator.calibration.ranges == "auto")

    def _best(self, asked: RefinementRequest, comparison: HoldoutComparison) -> RefinedInput | TflqError:
        found, models = comparison.found[asked], comparison.models
        if found and isinstance(found[0], TflqError):
            return self._as_it_is(asked, str(found[0])) or found[0]
        best, attempts = comparison.best(asked), tuple(one for one in found if isinstance(one, HoldoutScore))
        config = best.config if best else asked.required
        corrected = models.corrected_for(asked, config)
        held = len(comparison.held) if attempts else 0
        refinement = Refinement(config, attempts, held, corrected.corrections if corrected else ())
        return RefinedInput(models.quantizer_input(asked, config), refinement)

    def _as_it_is(self, asked: RefinementRequest, fault: str) -> RefinedInput | None:
        """The float32 file without any change, and why; None where the recipe wants one whatever comes."""
        config = asked.required
        if config.corrections != CorrectionFlags() or config.equalization:
            return None
        quantizer_input = QuantizerInput(self._float32, self._float32, self.base.ranges(asked, config))
        return RefinedInput(quantizer_input, Refinement(config, (), 0, (), fault))

    def _all(self, tasks: Sequence[Task[Any]]) -> list[Any]:
        return [outcome.get() for outcome in self.calibrator.workers.run_all(tasks, self.calibrator.jobs)]

    @property
    def _float32(self) -> Path:
        return self.base.calibration_data.model

    def _key(self, asked: RefinementRequest) -> tuple[Path, CalibrationSamples, RefinementRequest]:
        return self._float32, self.calibration_samples, asked

    def _new(self) -> Path:
        """A path that nothing has yet."""
        self.calibrator.folder.mkdir(parents=True, exist_ok=True)
        return self.calibrator.folder / uuid.uuid4().hex


def _thinned(calls: Sequence[int]) -> Sequence[int]:
    return calls[:: -(-len(calls) // FIT)]
