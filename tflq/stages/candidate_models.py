"""The float models that a variant can be quantized from, and the comparison of their files on hold-out samples."""

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
    """The recipe's method of choosing ranges."""
    split_calibration: SplitCalibration | None = None
    """Statistics of the fitting calls alone, if the recipe's method is minmax and calls are held out."""
    _known: dict[tuple[RangeMethod, bool], tuple[Range, ...]] = field(default_factory=dict, init=False, repr=False)

    def ranges(
        self, request: RefinementRequest, config: RefinementConfig, is_holdout: bool = False
    ) -> tuple[Range, ...]:
        """Ranges over all calls, or, with `is_holdout`, over the fitting calls alone."""
        uses_mse = config.mse and self.split_calibration is not None
        method = RangeMethod("mse" if uses_mse else self.method, request.bits, config.headroom == "expected")
        if (method, is_holdout) not in self._known:
            self._known[method, is_holdout] = self._statistics(is_holdout).ranges(method)
        ranges = self._known[method, is_holdout]
        return ranges if config.headroom == "expected" else refine.scale_ranges(ranges, config.headroom)

    def _statistics(self, is_holdout: bool) -> CalibrationData:
        if self.split_calibration is None:
            return self.calibration_data
        return self.split_calibration.fitted if is_holdout else self.split_calibration.whole


@dataclass(frozen=True)
class CandidateModels:
    """All float models that can be quantized."""

    bases: Mapping[bool, ModelWithRanges]
    """The float32 file as it is under False; the equalized one under True, if it was asked for."""
    corrected: Mapping[tuple[Path, WeightGranularity, CorrectionFlags], CorrectedModel]
    """Corrected models, by the file whose layers were corrected."""

    def quantizer_input(
        self, request: RefinementRequest, config: RefinementConfig, is_holdout: bool = False
    ) -> QuantizerInput:
        base, corrected = self.bases[config.equalization], self.corrected_model(request, config)
        original = base.calibration_data.model
        ranges = base.ranges(request, config, is_holdout)
        return QuantizerInput(corrected.path if corrected else original, original, ranges)

    def corrected_model(self, request: RefinementRequest, config: RefinementConfig) -> CorrectedModel | None:
        base = self.bases[config.equalization].calibration_data.model
        return self.corrected.get((base, request.granularity, config.corrections))


@dataclass(frozen=True)
class HoldoutComparison:
    """The scores on hold-out calls of the configurations that `auto` chooses from, for each request."""

    variants: Mapping[RefinementRequest, Mode]
    """A variant of each request, which is quantized for the comparison."""
    models: CandidateModels
    split: HoldoutSplit
    scores: Mapping[RefinementRequest, list[HoldoutScore | TflqError]]
    """In the order in which configurations are listed; the first is the one that the recipe demands."""

    def best(self, request: RefinementRequest) -> HoldoutScore | None:
        """The configuration to keep; None if nothing was compared, or the first configuration failed."""
        found = self.scores[request]
        scores = [one for one in found if isinstance(one, HoldoutScore)]
        return refine.best_score(scores) if scores and scores[0] is found[0] else None
