"""The float models that a variant can be quantized from, and the comparison of their files on hold-out calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tflq import refine
from tflq.calibrate import CalibrationData, Method, Range, RangeMethod
from tflq.errors import TflqError
from tflq.modes import Mode
from tflq.refine import (
    CorrectedModel,
    CorrectionFlags,
    HoldoutScore,
    QuantizerInput,
    RefinementConfig,
    RefinementRequest,
    WeightGranularity,
)
from tflq.stages.activation_ranges import HoldoutSplit, SplitCalibration


@dataclass(frozen=True)
class ModelWithRanges:
    """A float32 file with the statistics of its activations."""

    calibration_data: CalibrationData
    method: Method
    """The recipe's method of selecting ranges."""
    split_calibration: SplitCalibration | None = None
    """The statistics of both parts, if the recipe's method is minmax and there are hold-out calls."""
    _cached_ranges: dict[tuple[RangeMethod, bool], tuple[Range, ...]] = field(
        default_factory=dict, init=False, repr=False
    )

    def ranges(
        self, request: RefinementRequest, config: RefinementConfig, is_holdout: bool = False
    ) -> tuple[Range, ...]:
        """Return the ranges over all calls; if `is_holdout`, over the fitting calls alone."""
        uses_mse = config.mse and self.split_calibration is not None
        method = RangeMethod("mse" if uses_mse else self.method, request.bits, config.headroom == "expected")
        if (method, is_holdout) not in self._cached_ranges:
            self._cached_ranges[method, is_holdout] = self._data(is_holdout).ranges(method)
        ranges = self._cached_ranges[method, is_holdout]
        return ranges if config.headroom == "expected" else refine.scale_ranges(ranges, config.headroom)

    def _data(self, is_holdout: bool) -> CalibrationData:
        if self.split_calibration is None:
            return self.calibration_data
        return self.split_calibration.fitting_calls if is_holdout else self.split_calibration.all_calls


@dataclass(frozen=True)
class CandidateModels:
    """All float models that the variants can be quantized from."""

    bases: Mapping[bool, ModelWithRanges]
    """The float32 file under False; the equalized one under True, if a request needs it."""
    corrected: Mapping[tuple[Path, WeightGranularity, CorrectionFlags], CorrectedModel]
    """The corrected models, by the file whose layers were corrected, the granularity and the corrections."""

    def quantizer_input(
        self, request: RefinementRequest, config: RefinementConfig, is_holdout: bool = False
    ) -> QuantizerInput:
        """Return the model and the ranges of one configuration; if `is_holdout`, without the hold-out calls."""
        base, corrected = self.bases[config.equalization], self.corrected_model(request, config)
        original = base.calibration_data.model
        ranges = base.ranges(request, config, is_holdout)
        return QuantizerInput(corrected.path if corrected else original, original, ranges)

    def corrected_model(self, request: RefinementRequest, config: RefinementConfig) -> CorrectedModel | None:
        """Return the corrected model of one configuration; None if it corrects no layers."""
        base = self.bases[config.equalization].calibration_data.model
        return self.corrected.get((base, request.granularity, config.corrections))


@dataclass(frozen=True)
class HoldoutComparison:
    """The scores on hold-out calls of the configurations that `auto` chooses from, for each request."""

    variants: Mapping[RefinementRequest, Mode]
    """One variant of each request, which is quantized for the comparison."""
    models: CandidateModels
    split: HoldoutSplit
    scores: Mapping[RefinementRequest, list[HoldoutScore | TflqError]]
    """The score or the error of each configuration; the first is the one that the recipe demands."""

    def best(self, request: RefinementRequest) -> HoldoutScore | None:
        """Return the score of the configuration to keep; None if nothing was compared, or if the first one failed."""
        outcomes = self.scores[request]
        scores = [outcome for outcome in outcomes if isinstance(outcome, HoldoutScore)]
        return refine.best_score(scores) if scores and scores[0] is outcomes[0] else None
