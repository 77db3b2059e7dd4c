"""After rounding, layers compensate for the errors of the layers before them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from observing import fixtures_for, nothing

from tflq import refine
from tflq.calibrate.samples import CalibrationSamples
from tflq.flatbuffer import load
from tflq.interpreter import Runner
from tflq.refine import FittedLayers, RoundedLayers, WeightGranularity, asymmetric_calibration
from tflq.refine.asymmetric_calibration import _change, _chosen, _halves, _Inputs
from tflq.refine.corrected_model import corrected_layers, with_rounded_weights
from tflq.refine.rounding import STEPS
from tflq.refine.weighted_ops import Layer, layers

float32, calibration_samples = fixtures_for("tiny_conv_layers")
CALLS, OTHER_CALLS = range(0, 20, 2), range(1, 20, 2)
GRANULARITY = WeightGranularity(takes_scales=True)
KEYS = ("rounding", "bias_correction")
ROWS = 4000
SMALL_BUDGET = 1.5e8
"""The multiply-adds that suffice for some layers of the model, but not for all."""


@pytest.fixture(scope="module")
def rounded(
    float32: Path, calibration_samples: CalibrationSamples, tmp_path_factory: pytest.TempPathFactory
) -> RoundedLayers:
    folder, data = tmp_path_factory.mktemp("rounded"), (calibration_samples.samples, CALLS)
    parts = ((number, folder / f"part-{number}") for number in range(refine.STATISTICS_PARTS))
    statistics = [refine.fit_statistics(nothing, float32, data, True, part) for part in parts]
    moments = refine.SecondMoments(tuple(each.moments for each in statistics if each.moments))
    places = [(number, folder / f"rounded-{number}") for number in range(refine.ROUNDING_PARTS)]
    fits = (refine.fit_rounding(nothing, float32, moments, WeightGranularity(), place) for place in places)
    return RoundedLayers(FittedLayers((*(each.means for each in statistics), *fits)), moments, GRANULARITY)


@pytest.fixture(scope="module")
def dense(float32: Path) -> Layer:
    """A layer whose outputs read all channels."""
    return _chosen(float32.read_bytes(), len(CALLS))[0]


def compensated(
    float32: Path, samples: CalibrationSamples, rounded: RoundedLayers, folder: Path
) -> tuple[FittedLayers, Path]:
    path = refine.fit_asymmetric_calibration(
        nothing, float32, (samples.samples, CALLS), rounded, folder / "compensated"
    )
    return FittedLayers((*rounded.layers.files, path)), path


def noise(float32: Path, fitted: FittedLayers, samples: CalibrationSamples, folder: Path) -> float:
    """The mean square of the error of all outputs on other calls, where weights are rounded and nothing else."""
    content = float32.read_bytes()
    file = folder / "rounded.tflite"
    file.write_bytes(with_rounded_weights(content, corrected_layers(content, fitted, GRANULARITY, KEYS)))
    exact, actual = Runner(float32), Runner(file)
    squares = []
    for arrays in samples.samples.calls(OTHER_CALLS):
        truth, answers = exact(arrays), actual(arrays)
        squares += [np.mean(np.square(truth[name] - answers[name])) for name in truth]
    return float(np.mean(squares))


def test_outputs_are_nearer_on_other_samples(
    float32: Path, calibration_samples: CalibrationSamples, rounded: RoundedLayers, tmp_path: Path
) -> None:
    before = noise(float32, rounded.layers, calibration_samples, tmp_path)
    fitted, _ = compensated(float32, calibration_samples, rounded, tmp_path)
    assert noise(float32, fitted, calibration_samples, tmp_path) < 0.95 * before


def test_one_scale_for_each_tensor_follows_from_the_largest_weight(
    float32: Path, calibration_samples: CalibrationSamples, rounded: RoundedLayers, tmp_path: Path
) -> None:
    granularity = WeightGranularity(per_channel=False)
    _, path = compensated(float32, calibration_samples, replace(rounded, granularity=granularity), tmp_path)
    fitted = FittedLayers((*rounded.layers.files, path))
    changed = FittedLayers((path,)).load().of(STEPS)
    assert changed
    for each in corrected_layers(float32.read_bytes(), fitted, granularity, KEYS):
        if each.layer.operator.index in changed:
            np.testing.assert_array_equal(each.rounded.scales, granularity.scales(each.layer, each.rounded.matrices))


def test_the_first_layers_compensate_if_not_all_may(
    float32: Path,
    calibration_samples: CalibrationSamples,
    rounded: RoundedLayers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = [each.operator.index for each in _chosen(float32.read_bytes(), len(CALLS))]
    monkeypatch.setattr(asymmetric_calibration, "COMPENSATION_BUDGET", SMALL_BUDGET)
    some = [each.operator.index for each in _chosen(float32.read_bytes(), len(CALLS))]
    assert 0 < len(some) < len(every)
    assert some == every[: len(some)]
    _, path = compensated(float32, calibration_samples, rounded, tmp_path)
    with np.load(path) as arrays:
        assert {int(name.split()[1]) for name in arrays.files} <= {*some}
    monkeypatch.setattr(asymmetric_calibration, "COMPENSATION_BUDGET", 0)
    fitted, _ = compensated(float32, calibration_samples, rounded, tmp_path)
    assert fitted.load().of(STEPS).keys() == rounded.layers.load().of(STEPS).keys()


def test_what_reads_the_input_or_single_channels_does_not_compensate(float32: Path) -> None:
    main, chosen = load(float32).subgraphs[0], _chosen(float32.read_bytes(), len(CALLS))
    assert {each.operator.type for each in layers(float32.read_bytes())} > {each.operator.type for each in chosen}
    assert not {each.activation.index for each in chosen} & {*main.inputs}
    assert not {"DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"} & {each.operator.type for each in chosen}


def inputs(layer: Layer, error: np.ndarray) -> tuple[_Inputs, np.ndarray]:
    """Return random inputs with that error, [ROWS, inputs], and their second moment."""
    exact = np.random.default_rng(2).normal(size=(ROWS, layer.width)).astype(np.float32)
    actual = (exact + exact @ error if error.shape[0] == layer.width else exact + error).astype(np.float32)
    return _Inputs(exact, actual, _halves(ROWS, 10)), (exact.T @ exact)[np.newaxis] / ROWS


def test_an_error_that_follows_from_the_inputs_is_taken_out(dense: Layer) -> None:
    error = np.random.default_rng(3).normal(0, 0.002, (dense.width, dense.width))
    given, second_moment = inputs(dense, error)
    weights, change = dense.as_matrices(np.asarray(dense.weights.data)), _change(dense, given, second_moment)
    assert change is not None
    wanted = given.exact @ weights[0].T
    before = np.square(given.actual @ weights[0].T - wanted).sum()
    assert np.square(given.actual @ (weights + change)[0].T - wanted).sum() < 0.05 * before


def test_an_error_that_is_chance_is_hardly_compensated_for(dense: Layer) -> None:
    given, second_moment = inputs(dense, np.random.default_rng(3).normal(0, 0.02, (ROWS, dense.width)))
    all_of_it = np.linalg.solve(second_moment[0], given.exact.T @ (given.exact - given.actual) / ROWS)
    change, weights = _change(dense, given, second_moment), dense.as_matrices(np.asarray(dense.weights.data))
    assert change is None or np.abs(change).max() < 0.3 * np.abs(all_of_it @ weights[0].T).max()


def test_what_cannot_be_estimated_changes_nothing(dense: Layer) -> None:
    given, second_moment = inputs(dense, np.zeros((ROWS, dense.width)))
    assert _change(dense, given, second_moment) is None
    wrong, second_moment = inputs(dense, np.full((ROWS, dense.width), 0.1))
    assert _change(dense, wrong, np.zeros_like(second_moment)) is None
    assert _change(dense, replace(wrong, halves=_halves(ROWS, 1)), second_moment) is None
    wrong.actual[7, 0] = np.nan
    assert _change(dense, wrong, second_moment) is None


def test_zeros_stay_zeros(dense: Layer) -> None:
    pruned = np.asarray(dense.weights.data).copy()
    pruned.reshape(-1)[::2] = 0
    layer = replace(dense, weights=replace(dense.weights, stored=pruned.view(np.uint8).reshape(-1)))
    given, second_moment = inputs(layer, np.random.default_rng(3).normal(0, 0.002, (layer.width, layer.width)))
    change = _change(layer, given, second_moment)
    assert change is not None
    assert not change[layer.as_matrices(pruned) == 0].any()
