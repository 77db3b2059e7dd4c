"""The values that stages return and later stages take: the source, the prepared run, and the calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tflq.calibrate.calibration_data import CalibrationData
from tflq.calibrate.range_selection import SelectedRanges
from tflq.calibrate.samples import CalibrationSamples
from tflq.errors import TflqError
from tflq.evaluate.plan import EvaluationRows
from tflq.evaluate.record import Record
from tflq.modes import Mode
from tflq.refine import QuantizerInput, RefinedInput, RefinementRequest
from tflq.result import FoundBy
from tflq.sources.prepared import PreparedSource
from tflq.stages.variant_build import Float32Baseline, VariantBuild
from tflq.worker import BackgroundTask


@dataclass(frozen=True)
class ConvertibleSource:
    """The float model with its signature, and the way to convert it."""

    prepared: PreparedSource
    missing_api: str | None
    """The internal functions that this TensorFlow lacks, so that the public converter is used; None if it has all."""


@dataclass(frozen=True)
class PreparedRun:
    """The float32 file, the builds of all variants, and the samples for the later stages."""

    float32: Float32Baseline
    evaluation_rows: EvaluationRows
    builds: tuple[VariantBuild, ...]
    calibration_samples: CalibrationSamples | TflqError | None
    """None if no variant uses calibration samples."""
    calibration_data: CalibrationData | None
    """The statistics of the activations on these samples, if they were in the cache."""
    source: RecordedOutputs | Record | None = None
    """The outputs of the source, or its record from the cache; None if it is measured later, or not at all."""


@dataclass(frozen=True)
class RecordedOutputs:
    """The outputs of a model on the first samples in the order of measuring."""

    samples: int
    folder: Path
    task: BackgroundTask[bool]
    """The task that records them. It returns False if they are too large."""


@dataclass(frozen=True)
class CalibrationResult:
    """The calibration samples, and the ranges that were computed from them."""

    calibration_samples: CalibrationSamples
    model: Path
    """The float32 file that the ranges belong to."""
    selected_ranges: SelectedRanges | None
    """None if fake-quantize ops set the ranges, or if the public converter calibrates each file."""
    found_by: FoundBy
    calibration_data: CalibrationData | None = None
    """The statistics that the ranges were selected from."""
    refined: Mapping[RefinementRequest, RefinedInput | TflqError] = field(default_factory=dict)
    """The quantizer input or the error of each request for corrections."""

    def quantizer_input(self, variant: Mode) -> QuantizerInput:
        """Return the model and the ranges that the variant is quantized from; raise the error if there is one."""
        assert self.selected_ranges is not None
        refined = self.refined.get(RefinementRequest.by(variant))
        if isinstance(refined, TflqError):
            raise refined
        uncorrected = QuantizerInput(self.model, self.model, self.selected_ranges.by_bits[variant.activation_bits])
        return refined.quantizer_input if refined else uncorrected
