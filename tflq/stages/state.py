"""What is known of a source, from stage to stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tflq.calibrate import CalibrationData, CalibrationSamples, SelectedRanges
from tflq.errors import TflqError
from tflq.evaluate import EvaluationRows
from tflq.modes import Mode
from tflq.refine import QuantizerInput, RefinedInput, RefinementRequest
from tflq.result import FoundBy
from tflq.sources import Prepared
from tflq.stages.variant_build import Float32Baseline, VariantBuild


@dataclass(frozen=True)
class ConvertibleSource:
    """The float model, and how it can be converted."""

    prepared: Prepared
    missing_api: str | None
    """What the converter lacks of the inner parts that are used, if anything: then the public converter is."""


@dataclass(frozen=True)
class PreparedRun:
    """The float32 file, the variants that need no ranges, and the samples to go on with."""

    float32: Float32Baseline
    evaluation_rows: EvaluationRows
    builds: tuple[VariantBuild, ...]
    calibration_samples: CalibrationSamples | TflqError | None
    """None where no variant takes ranges."""
    calibration_data: CalibrationData | None
    """What was kept of them."""


@dataclass(frozen=True)
class CalibrationResult:
    """The samples, and what they showed."""

    calibration_samples: CalibrationSamples
    model: Path
    """What the ranges are of."""
    selected_ranges: SelectedRanges | None
    """None where the source has ranges of its own, or the public converter calibrates for every file."""
    found_by: FoundBy
    calibration_data: CalibrationData | None = None
    """What the ranges were chosen from."""
    refined: Mapping[RefinementRequest, RefinedInput | TflqError] = field(default_factory=dict)
    """What is quantized in place of the model, by what variants ask for."""

    def quantizer_input(self, variant: Mode) -> QuantizerInput:
        """What the variant is quantized from; raises what kept that from being made."""
        assert self.selected_ranges is not None
        refined = self.refined.get(RefinementRequest.by(variant))
        if isinstance(refined, TflqError):
            raise refined
        plain = QuantizerInput(self.model, self.model, self.selected_ranges.by_bits[variant.activation_bits])
        return refined.quantizer_input if refined else plain
