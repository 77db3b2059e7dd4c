"""A quantized file with other constants is the file that the quantizer would have made."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from observing import fixtures_for, nothing, observed

from tflq import refine
from tflq.calibrate.calibration_data import ActivationStatistics, CalibrationData
from tflq.calibrate.ranges import RangeMethod
from tflq.calibrate.samples import CalibrationSamples
from tflq.flatbuffer import read
from tflq.modes import Int8, Int8Only, Mode
from tflq.refine import (
    FittedLayers,
    HoldoutCandidate,
    HoldoutSamples,
    QuantizerInput,
    SignalAndNoise,
    WeightGranularity,
)
from tflq.refine.corrected_layer import CorrectedLayer
from tflq.refine.corrected_model import corrected_layers
from tflq.refine.holdout import TEMPLATE
from tflq.refine.patched_file import has_constants, patch

float32, calibration_samples = fixtures_for("tiny_conv_layers")
Keys = tuple[str, ...]
"""The keys of corrections."""
PLAIN, BIAS, BOTH = (), ("bias_correction",), ("bias_correction", "rounding")


@dataclass(frozen=True)
class Subject:
    """A float32 file, and what was fitted to its layers."""

    float32: Path
    samples: CalibrationSamples
    fitted: FittedLayers

    def layers(self, flags: Keys) -> list[CorrectedLayer]:
        return corrected_layers(self.float32.read_bytes(), self.fitted, WeightGranularity(), flags)

    def quantize(self, flags: Keys, variant: Mode, folder: Path) -> bytes:
        model, target = folder / "corrected.tflite", folder / "quantized.tflite"
        refine.write_corrected(nothing, self.float32, self.fitted, (WeightGranularity(), flags), model)
        statistics = ActivationStatistics(observed(self.float32, self.samples), {})
        ranges = CalibrationData(self.float32, statistics).ranges(RangeMethod("minmax", 8))
        refine.quantize(nothing, QuantizerInput(model, self.float32, ranges), variant, target)
        return target.read_bytes()


@pytest.fixture(scope="module")
def subject(
    float32: Path, calibration_samples: CalibrationSamples, tmp_path_factory: pytest.TempPathFactory
) -> Subject:
    folder, data = tmp_path_factory.mktemp("fitted"), (calibration_samples.samples, range(10))
    found = [
        refine.fit_statistics(nothing, float32, data, True, (number, folder / f"statistics-{number}"))
        for number in range(refine.STATISTICS_PARTS)
    ]
    moments = refine.SecondMoments(tuple(each.moments for each in found if each.moments))
    parts = [(number, folder / f"rounded-{number}") for number in range(refine.ROUNDING_PARTS)]
    rounded = tuple(refine.fit_rounding(nothing, float32, moments, WeightGranularity(), part) for part in parts)
    return Subject(float32, calibration_samples, FittedLayers((*(each.means for each in found), *rounded)))


VARIANTS = {"int8": Int8(), "strict": Int8Only(), "mixed": Int8(keep_float=("CONV_2D",))}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=list(VARIANTS))
@pytest.mark.parametrize("flags", [(PLAIN, BIAS), (BIAS, BOTH), (BOTH, PLAIN)], ids=["bias", "rounding", "none"])
def test_patched_file_is_that_of_the_quantizer(
    subject: Subject, tmp_path: Path, variant: Mode, flags: tuple[Keys, Keys]
) -> None:
    content = subject.float32.read_bytes()
    before, after = map(subject.layers, flags)
    old, new = (subject.quantize(each, variant, tmp_path) for each in flags)
    assert has_constants(old, content, before)
    patched = patch(old, content, after)
    (expected,), (made,) = read(new).subgraphs, read(patched).subgraphs
    assert [op.type for op in made.operators] == [op.type for op in expected.operators]
    for op, other in zip(made.operators, expected.operators, strict=True):
        for one, two in zip(made.read_by(op), expected.read_by(other), strict=True):
            if one.is_constant:
                np.testing.assert_allclose(np.asarray(one.data), np.asarray(two.data), atol=int(one.dtype == "int32"))


def test_file_of_other_constants_is_not_patched(subject: Subject, tmp_path: Path) -> None:
    old = subject.quantize(BOTH, Int8(), tmp_path)
    assert not has_constants(old, subject.float32.read_bytes(), subject.layers(PLAIN))


def test_a_score_does_not_depend_on_the_candidates_before(subject: Subject, tmp_path: Path) -> None:
    """Candidates run side by side, so their order differs from run to run."""
    holdout = HoldoutSamples(subject.samples.samples, (10, 11, 12), tmp_path / "outputs")
    refine.run_reference(nothing, subject.float32, holdout)
    statistics = ActivationStatistics(observed(subject.float32, subject.samples), {})
    ranges = CalibrationData(subject.float32, statistics).ranges(RangeMethod("minmax", 8))

    def scored(flags: Keys, templates: str) -> tuple[dict[str, SignalAndNoise], bytes]:
        candidate = HoldoutCandidate(
            subject.float32, ranges, WeightGranularity(), flags, subject.fitted, tmp_path / templates
        )
        score = refine.holdout_fidelity(nothing, candidate, Int8(), holdout, tmp_path / "candidate")
        return score, (tmp_path / templates / TEMPLATE).read_bytes()

    alone = {flags: scored(flags, str(flags)) for flags in (PLAIN, BIAS, BOTH)}
    for order in permutations(alone):
        for flags in order:
            assert scored(flags, f"shared by {order}") == alone[flags]
