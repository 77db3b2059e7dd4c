"""Beside int16 activations, each channel has the scale with which its rounded weights disturb the output least."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from observing import fixtures_for, nothing, observed

from tflq import refine
from tflq.calibrate.calibration_data import ActivationStatistics, CalibrationData
from tflq.calibrate.ranges import Range, RangeMethod
from tflq.calibrate.samples import CalibrationSamples
from tflq.flatbuffer import ROLES, edit, load
from tflq.modes import Int16x8
from tflq.refine import FittedLayers, QuantizerInput, WeightGranularity
from tflq.refine.corrected_model import corrected_layers
from tflq.refine.operator_pairs import operator_pairs

float32, calibration_samples = fixtures_for("tiny_conv_layers")
ROUNDING = ("rounding",)
CALLS = range(0, 20, 2)


def rounded(
    float32: Path, samples: CalibrationSamples, granularity: WeightGranularity, folder: Path
) -> tuple[FittedLayers, Path]:
    """Return the rounded weights of the layers, and the float32 file that has them."""
    statistics = [
        refine.fit_statistics(nothing, float32, (samples.samples, CALLS), True, (number, folder / f"part-{number}"))
        for number in range(refine.STATISTICS_PARTS)
    ]
    moments = refine.SecondMoments(tuple(each.moments for each in statistics if each.moments))
    parts = [(number, folder / f"rounded-{number}") for number in range(refine.ROUNDING_PARTS)]
    fitted = FittedLayers(tuple(refine.fit_rounding(nothing, float32, moments, granularity, part) for part in parts))
    refine.write_corrected(nothing, float32, fitted, (granularity, ROUNDING), folder / "model.tflite")
    return fitted, folder / "model.tflite"


@pytest.fixture(scope="module")
def ranges(float32: Path, calibration_samples: CalibrationSamples) -> tuple[Range, ...]:
    statistics = ActivationStatistics(observed(float32, calibration_samples), {})
    return CalibrationData(float32, statistics).ranges(RangeMethod("minmax", 16))


@pytest.mark.parametrize("keep_float", [(), ("DEPTHWISE_CONV_2D",)], ids=["all", "some"])
def test_file_has_the_scales_that_were_chosen(
    float32: Path,
    calibration_samples: CalibrationSamples,
    ranges: tuple[Range, ...],
    tmp_path: Path,
    keep_float: tuple[str, ...],
) -> None:
    granularity = WeightGranularity(takes_scales=True)
    fitted, model = rounded(float32, calibration_samples, granularity, tmp_path)
    variant, target = Int16x8(keep_float=keep_float), tmp_path / "quantized.tflite"
    refine.quantize(nothing, QuantizerInput(model, float32, ranges), variant, target)
    before, after = load(float32).subgraphs[0], load(target).subgraphs[0]
    pairs = operator_pairs(before, after)
    assert pairs is not None
    with_other_scales = 0
    for each in corrected_layers(float32.read_bytes(), fitted, granularity, ROUNDING):
        tensor = after.input(pairs[each.layer.operator.index], ROLES[each.layer.operator.type].weights)
        assert tensor is not None
        if each.layer.operator.type in keep_float:
            stored = edit.unpack(target.read_bytes()).subgraphs[0].tensors[tensor.index].quantization
            assert tensor.dtype == "float32"
            assert stored is None or stored.max is None
            continue
        assert tensor.quantization is not None
        np.testing.assert_array_equal(np.asarray(tensor.data), each.steps)
        np.testing.assert_allclose(tensor.quantization.scales, each.rounded.scales.reshape(-1), rtol=1e-6)
        with_other_scales += bool((np.abs(each.rounded.integers).max(2) < 127).any())
    assert with_other_scales > 1


@pytest.mark.parametrize(
    "granularity",
    [WeightGranularity(), WeightGranularity(per_channel=False, takes_scales=True)],
    ids=["int8 activations", "one scale for each tensor"],
)
def test_the_largest_weight_defines_other_scales(
    float32: Path, calibration_samples: CalibrationSamples, tmp_path: Path, granularity: WeightGranularity
) -> None:
    fitted, model = rounded(float32, calibration_samples, granularity, tmp_path)
    for each in corrected_layers(float32.read_bytes(), fitted, granularity, ROUNDING):
        np.testing.assert_array_equal(each.rounded.scales, granularity.scales(each.layer, each.rounded.matrices))
    stored = [tensor.quantization for tensor in edit.unpack(model.read_bytes()).subgraphs[0].tensors]
    assert all(each is None or each.max is None for each in stored)
