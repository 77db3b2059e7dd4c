"""Changes to the float32 file: each does what it says, and the file that comes of it is nearer to the float model."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from observing import fixtures_for, nothing
from running import Ran, Recipes, keeping

from tflq import refine
from tflq.cache import Store
from tflq.calibrate.samples import CalibrationSamples, Samples
from tflq.calibrate.schema import Ranges
from tflq.channel_factors import EQUALIZATION_STRENGTH, VALUES_PER_GAIN
from tflq.flatbuffer import edit, load, read
from tflq.interpreter import Runner
from tflq.modes import Int8, Int16x8
from tflq.refine import (
    MAX_HEADROOM_LOSS_DB,
    MIN_GAIN_DB,
    SIMILAR_DB,
    FittedLayers,
    HoldoutScore,
    RefinementConfig,
    RefinementRequest,
    SignalAndNoise,
    WeightGranularity,
)
from tflq.refine.bias_correction import BIAS_CORRECTION
from tflq.refine.corrected_layer import CorrectedLayer
from tflq.refine.corrected_model import corrected_layers, with_rounded_weights
from tflq.refine.correction import LayerwiseCorrection
from tflq.refine.cross_layer_equalization import (
    _channel_ranges,
    _ChannelRanges,
    _expose,
    _factors,
    _TiedActivations,
)
from tflq.refine.fitted_layers import FittedValues, save
from tflq.refine.gptq import DAMPING, SCALE_FACTORS, RoundedWeights, gptq_round, nearest_steps, round_to_nearest, scales
from tflq.refine.holdout import MAX_HOLDOUT_CALLS
from tflq.refine.input_statistics import InputStatistics, input_statistics
from tflq.refine.second_moments import second_moment_of
from tflq.refine.weighted_ops import Layer, layers

Keys = tuple[str, ...]
"""The keys of corrections."""
BIAS, BOTH = ("bias_correction",), ("bias_correction", "rounding")
CALLS = range(0, 20, 2)


float32, calibration_samples = fixtures_for("tiny_conv_layers")


@pytest.fixture(scope="module")
def found(float32: Path) -> list[Layer]:
    return all_layers(float32)


def all_layers(float32: Path) -> list[Layer]:
    return list(layers(float32.read_bytes()))


@pytest.fixture(scope="module")
def outputs(
    float32: Path, calibration_samples: CalibrationSamples, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, np.ndarray]]:
    """What every op writes and reads, by the number of the tensor, on each call."""
    model = edit.unpack(float32.read_bytes())
    shown = {i for op in load(float32).subgraphs[0].operators for i in (*op.outputs, *op.inputs)}
    tensors = load(float32).subgraphs[0].tensors
    edit.set_outputs(model, {str(i): i for i in sorted(shown) if i >= 0 and not tensors[i].is_constant})
    edit.write(model, path := tmp_path_factory.mktemp("shown") / "shown.tflite")
    run = Runner(path)
    return [dict(run(arrays)) for arrays in calibration_samples.samples.calls(CALLS)]


def test_layers_are_all_ops_with_weights(found: list[Layer]) -> None:
    assert [layer.operator.type for layer in found] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "CONV_2D",
        "TRANSPOSE_CONV",
        "FULLY_CONNECTED",
        "FULLY_CONNECTED",
    ]


def test_what_a_layer_sees_times_its_weights_is_what_it_writes(
    found: list[Layer], outputs: list[dict[str, np.ndarray]]
) -> None:
    """At all positions: strides, dilation, padding, groups and multipliers are as the kernels have them."""
    for layer in (one for one in found if not one.is_scattered):
        weights = layer.as_matrices(np.asarray(layer.weights.data))
        np.testing.assert_array_equal(layer.as_tensor(weights), np.asarray(layer.weights.data))
        bias = 0 if layer.bias is None else np.asarray(layer.bias.data)
        written = outputs[0][str(layer.operator.outputs[0])]
        seen = layer.input_patches(outputs[0][str(layer.activation.index)], written[..., 0].size, seed=0)
        made = np.einsum("goi,pgi->pgo", weights, seen).reshape(len(seen), -1) + bias
        activation = layer.options.get("fusedActivationFunction", 0)
        made = np.clip(made, *{0: (-np.inf, np.inf), 1: (0, np.inf), 3: (0, 6)}[activation])
        expected = written.reshape(-1, written.shape[-1])
        order = [np.lexsort(np.round(rows, 3).T) for rows in (made, expected)]
        np.testing.assert_allclose(made[order[0]], expected[order[1]], atol=2e-3)


def test_moments_are_those_of_what_is_seen(
    float32: Path,
    calibration_samples: CalibrationSamples,
    found: list[Layer],
    outputs: list[dict[str, np.ndarray]],
    tmp_path: Path,
) -> None:
    sums = input_statistics(float32.read_bytes(), found, (calibration_samples.samples, CALLS), tmp_path / "seen.tflite")
    for layer, moment in zip(found, sums, strict=True):
        rows = [layer.input_patches(call[str(layer.activation.index)], 1024, 0) for call in outputs]
        seen = np.concatenate(rows).astype(np.float64)
        np.testing.assert_allclose(moment.mean, seen.mean(0), atol=1e-5)
        if layer.is_scattered:
            assert moment.covariance is None
        else:
            about = seen - seen.mean(0)
            np.testing.assert_allclose(
                moment.covariance, np.einsum("pgi,pgj->gij", about, about) / len(seen), atol=1e-4
            )


def test_several_runs_find_the_same_moments(
    float32: Path,
    calibration_samples: CalibrationSamples,
    found: list[Layer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, scratch = (calibration_samples.samples, CALLS), tmp_path / "seen.tflite"
    runs: list[Path] = []
    monkeypatch.setattr("tflq.refine.input_statistics.Runner", lambda path: runs.append(path) or Runner(path))
    at_once = list(input_statistics(float32.read_bytes(), found, data, scratch))
    assert len(runs) == 1
    monkeypatch.setattr("tflq.refine.input_statistics.MAX_COVARIANCE_BYTES", 1)
    one_by_one = list(input_statistics(float32.read_bytes(), found, data, scratch))
    assert len(runs) > 2
    for once, again in zip(at_once, one_by_one, strict=True):
        np.testing.assert_array_equal(once.mean, again.mean)


def test_means_are_the_same_with_second_moments_and_without(
    float32: Path, calibration_samples: CalibrationSamples, tmp_path: Path
) -> None:
    data, folders = (calibration_samples.samples, CALLS), {flag: tmp_path / str(flag) for flag in (True, False)}
    for folder in folders.values():
        folder.mkdir()
    found = {flag: statistics_of(float32, data, folder, flag) for flag, folder in folders.items()}
    assert all(each.moments is None for each in found[False])
    for both, alone in zip(found[True], found[False], strict=True):
        assert both.means.read_bytes() == alone.means.read_bytes()


def test_transposed_convolution_of_a_mean(found: list[Layer]) -> None:
    """Away from the borders each input meets a stride's square of outputs; here all of 16 × 16 inputs are alike."""
    (layer,) = (one for one in found if one.is_scattered)
    weights = np.asarray(layer.weights.data)  # [outputs, height, width, inputs]
    image = np.zeros((34, 34, len(weights)))
    for y in range(16):
        for x in range(16):
            image[2 * y : 2 * y + 3, 2 * x : 2 * x + 3] += np.moveaxis(weights.sum(3), 0, 2)
    mean = np.ones((1, weights.shape[-1]))
    np.testing.assert_allclose(
        layer.products(layer.as_matrices(weights), mean), image[8:24, 8:24].mean((0, 1)), rtol=1e-5
    )


@pytest.fixture(scope="module")
def correlated() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [2 groups, 8 outputs, 40 inputs], their scales, and a covariance with strong correlations."""
    random = np.random.default_rng(3)
    weights = random.normal(0, 0.2, (2, 8, 40))
    mixed = random.normal(0, 1, (2, 300, 12)) @ random.normal(0, 1, (2, 12, 40)) + random.normal(0, 0.1, (2, 300, 40))
    return weights, scales(weights, is_per_channel=True), np.einsum("gpi,gpj->gij", mixed, mixed) / 300


def noise(change: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return np.einsum("goi,gij,goj->go", change, covariance, change)


def test_fitted_weights_are_on_the_grid_and_disturb_the_output_less(
    correlated: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    weights, scale, covariance = correlated
    rounded = gptq_round(weights, scale, covariance)
    np.testing.assert_array_equal(rounded.scales, scale)
    np.testing.assert_array_equal(np.abs(rounded.integers).max(2), 127)
    plain = noise(round_to_nearest(weights, scale) - weights, covariance).sum()
    assert noise(rounded.matrices - weights, covariance).sum() < 0.2 * plain


@pytest.mark.parametrize("block", [16, 64], ids=["three blocks", "one block"])
def test_integers_are_those_of_the_paper(
    correlated: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """It factors the inverse of the covariance, and takes one column after the other, in descending order of them."""
    monkeypatch.setattr("tflq.refine.gptq.BLOCK", block)
    weights, scale, covariance = correlated
    rounded = gptq_round(weights, scale, covariance)
    for group, matrix in enumerate(covariance):
        order = np.argsort(-np.diag(matrix), kind="stable")
        damped = matrix[np.ix_(order, order)] / np.diag(matrix).mean() + DAMPING * np.eye(len(matrix))
        factor = np.linalg.cholesky(np.linalg.inv(damped)).T
        left = weights[group][:, order] / scale[group][:, np.newaxis]
        is_largest = np.abs(left) > 127 - 1e-4
        for column in range(left.shape[1]):
            integers = np.where(is_largest[:, column], np.sign(left[:, column]) * 127, np.rint(left[:, column]))
            integers = np.clip(integers, -127, 127)
            np.testing.assert_array_equal(rounded.integers[group][:, order[column]], integers)
            error = (left[:, column] - integers) / factor[column, column]
            left[:, column + 1 :] -= np.outer(error, factor[column, column + 1 :])


def test_the_best_of_several_scales_disturbs_each_output_less(
    correlated: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    weights, scale, covariance = correlated
    alone = gptq_round(weights, scale, covariance)
    each = np.stack(
        [
            noise(gptq_round(weights, scale, covariance, (factor,)).matrices - weights, covariance)
            for factor in SCALE_FACTORS
        ]
    )
    best = gptq_round(weights, scale, covariance, SCALE_FACTORS)
    assert (best.scales >= scale).all()
    assert (best.scales < 1.11 * scale).all()
    assert noise(best.matrices - weights, covariance).sum() < 1.1 * each.min(0).sum()
    assert noise(best.matrices - weights, covariance).sum() < 0.9 * noise(alone.matrices - weights, covariance).sum()


def test_rounding_again_changes_nothing(correlated: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """So the converter, which rounds each weight to the nearest integer, finds the integers that were chosen."""
    weights, scale, covariance = correlated
    rounded = gptq_round(weights, scale, covariance)
    matrices = rounded.matrices.astype(np.float32)
    found = scales(matrices, is_per_channel=True)
    np.testing.assert_array_equal(nearest_steps(matrices, found), rounded.integers)
    np.testing.assert_allclose(found, rounded.scales, rtol=1e-6)


def test_pruned_weights_stay_zero(correlated: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    weights, _, covariance = correlated
    pruned = np.where(np.abs(weights) < 0.15, 0, weights)
    assert not gptq_round(pruned, scales(pruned, is_per_channel=True), covariance).integers[pruned == 0].any()


@pytest.mark.parametrize("covariance", [np.zeros((2, 40, 40)), np.ones((2, 40, 40))], ids=["nothing", "all alike"])
def test_inputs_that_tell_nothing_do_no_harm(
    correlated: tuple[np.ndarray, np.ndarray, np.ndarray], covariance: np.ndarray
) -> None:
    weights, scale, _ = correlated
    rounded = gptq_round(weights, scale, covariance, SCALE_FACTORS)
    assert np.isfinite(rounded.matrices).all()
    np.testing.assert_allclose(rounded.matrices, weights, atol=2 * scale.max())


def test_scales_of_one_tensor_are_all_alike(correlated: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    weights, scale, _ = correlated
    assert np.unique(scales(weights, is_per_channel=False)) == scale.max()


@pytest.fixture(scope="module")
def corrected(
    float32: Path, calibration_samples: CalibrationSamples, tmp_path_factory: pytest.TempPathFactory
) -> dict[Keys, refine.CorrectedModel]:
    folder, data = tmp_path_factory.mktemp("corrected"), (calibration_samples.samples, CALLS)
    fitted = fit(float32, data, folder)
    return {
        flags: refine.write_corrected(
            nothing, float32, fitted, (WeightGranularity(), flags), folder / f"{place}.tflite"
        )
        for place, flags in enumerate(((), BIAS, BOTH))
    }


def fit(float32: Path, data: tuple[Samples, Sequence[int]], folder: Path) -> FittedLayers:
    found = statistics_of(float32, data, folder)
    moments = refine.SecondMoments(tuple(each.moments for each in found if each.moments))
    parts = [folder / f"rounded-{number}" for number in range(refine.ROUNDING_PARTS)]
    rounded = (refine.fit_rounding(nothing, float32, moments, WeightGranularity(), part) for part in enumerate(parts))
    return FittedLayers((*(each.means for each in found), *rounded))


def statistics_of(
    float32: Path, data: tuple[Samples, Sequence[int]], folder: Path, with_moments: bool = True
) -> list[refine.LayerStatistics]:
    parts = [(number, folder / f"statistics-{number}") for number in range(refine.STATISTICS_PARTS)]
    return [refine.fit_statistics(nothing, float32, data, with_moments, part) for part in parts]


def mean_of(tensor: int, content: bytes, calibration_samples: CalibrationSamples, scratch: Path) -> np.ndarray:
    model = edit.unpack(content)
    edit.set_outputs(model, {"it": tensor})
    edit.write(model, scratch)
    run = Runner(scratch)
    return np.mean([run(arrays)["it"] for arrays in calibration_samples.samples.calls(CALLS)], axis=0)


def test_bias_correction_takes_out_what_rounded_weights_add_to_the_mean(
    float32: Path,
    calibration_samples: CalibrationSamples,
    found: list[Layer],
    corrected: dict[Keys, refine.CorrectedModel],
    tmp_path: Path,
) -> None:
    dense = found[-2].operator.outputs[0]
    truth, off = mean_of(dense, float32.read_bytes(), calibration_samples, tmp_path / "shown"), {}
    for name, path in {"plain": float32, "bias": corrected[BIAS].path, "both": corrected[BOTH].path}.items():
        content = path.read_bytes()
        nearest = corrected_layers(content, None, WeightGranularity(), ())
        rounded = with_rounded_weights(content, nearest)
        off[name] = np.abs(mean_of(dense, rounded, calibration_samples, tmp_path / "shown") - truth).max()
    assert off["bias"] < 0.4 * off["plain"]
    assert off["both"] < 0.6 * off["plain"]


def test_each_layer_says_what_was_done(found: list[Layer], corrected: dict[Keys, refine.CorrectedModel]) -> None:
    bias, both = (corrected[one].corrections for one in (BIAS, BOTH))
    assert [one.operator for one in both] == [layer.operator.index for layer in found]
    assert all((one.shift > 0) == (layer.bias is not None) for one, layer in zip(bias, found, strict=True))
    assert {one.error for one in bias} == {1.0}
    errors = [one.error for one, layer in zip(both, found, strict=True) if not layer.is_scattered]
    assert max(errors) < 1.05
    assert np.mean(errors) < 0.7


def test_one_more_correction_of_weights_is_applied_before_the_biases(
    float32: Path, found: list[Layer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A new one is declared in its own file, and listed; what reads the list does the rest."""
    halved = LayerwiseCorrection(
        key="halved", in_words="halved weights", changes=("weights",), apply=_with_half_weights
    )
    monkeypatch.setattr("tflq.refine.corrected_model.LAYERWISE_CORRECTIONS", (halved, BIAS_CORRECTION))
    layer = next(one for one in found if one.bias is not None and one.operator.type == "FULLY_CONNECTED")
    means = save(tmp_path / "means", {"mean": {layer.operator.index: np.ones((1, layer.width))}})
    keys, target = ("halved", "bias_correction"), tmp_path / "halved.tflite"
    made = refine.write_corrected(nothing, float32, FittedLayers((means,)), (WeightGranularity(), keys), target)
    before, after = (
        next(one for one in all_layers(path) if one.operator == layer.operator) for path in (float32, target)
    )
    weights, halves = np.asarray(before.weights.data), np.asarray(after.weights.data)
    np.testing.assert_allclose(halves, weights / 2, atol=np.abs(weights).max() / 200)
    shift = (weights - halves).sum(1)
    np.testing.assert_allclose(np.asarray(after.bias.data) - np.asarray(before.bias.data), shift, atol=1e-4)
    assert {one.operator: one.shift for one in made.corrections}[layer.operator.index] == pytest.approx(
        np.abs(shift).max()
    )


def _with_half_weights(corrected: CorrectedLayer, _: FittedValues) -> CorrectedLayer:
    weights = RoundedWeights(corrected.rounded.integers, corrected.rounded.scales / 2)
    return replace(corrected, corrected_weights=weights)


def test_a_mean_has_the_factors_of_every_rewriting(found: list[Layer]) -> None:
    layer = next(one for one in found if one.operator.type == "CONV_2D")
    factors = tuple({layer.activation.index: np.full(layer.activation.shape[-1], factor)} for factor in (2.0, 3.0))
    mean = FittedValues({"mean": {layer.operator.index: np.ones((1, layer.width))}}, factors).mean(layer)
    assert mean.tolist() == [[6.0] * layer.width]


def test_second_moments_from_few_rows_are_trusted_less() -> None:
    """Weights are fitted to 60 rows of 200 inputs. Their error is measured on many other rows."""
    random = np.random.default_rng(0)
    mixing = random.normal(0, 1, (40, 200)) * (np.arange(40) + 1)[:, np.newaxis] ** -0.7
    rows, unseen = (np.maximum(random.normal(0, 1, (count, 40)) @ mixing, 0) for count in (60, 9000))
    weights = random.normal(0, 0.1, (1, 32, 200))
    scale, mean, truth = scales(weights, is_per_channel=True), rows.mean(0, keepdims=True), unseen.T @ unseen / 9000

    def lost(rows_told: int) -> float:
        statistics = InputStatistics(mean, np.cov(rows.T)[np.newaxis].astype(np.float32), rows_told)
        moment = second_moment_of(statistics)
        assert moment is not None
        return float(noise(gptq_round(weights, scale, moment).matrices - weights, truth[np.newaxis]).sum())

    assert lost(60) < 0.9 * lost(10**9)


def test_second_moments_of_an_equalized_file_follow_from_the_factors(
    float32: Path, calibration_samples: CalibrationSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tflq.refine.second_moments.SHRINKAGE", 0.0)  # it is that of the file before
    data = calibration_samples.samples, CALLS
    made = refine.equalize(nothing, float32, data, tmp_path / "equalized.tflite")
    assert made.tensors
    content = made.path.read_bytes()
    own = list(layers(content))
    files = tuple(each.moments for each in statistics_of(float32, data, tmp_path) if each.moments)
    moments = refine.SecondMoments(files, (made.factors,)).of(own)
    assert any(moment is not None for moment in moments)
    for moment, seen in zip(moments, input_statistics(content, own, data, tmp_path / "seen"), strict=True):
        expected = second_moment_of(seen)
        assert (moment is None) == (expected is None)
        if moment is not None and expected is not None:
            np.testing.assert_allclose(moment, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_corrected_file_differs_in_constants_alone(float32: Path, corrected: dict[Keys, refine.CorrectedModel]) -> None:
    (before,), (after,) = load(float32).subgraphs, load(corrected[BOTH].path).subgraphs
    assert [(op.type, op.outputs) for op in after.operators] == [(op.type, op.outputs) for op in before.operators]
    assert load(corrected[BOTH].path).size_bytes < 1.05 * load(float32).size_bytes + 2000


def test_ops_that_stay_in_float_have_their_own_weights(
    float32: Path, found: list[Layer], corrected: dict[Keys, refine.CorrectedModel]
) -> None:
    from tflq.refine.corrected_model import restore_weights

    kept, other = found[0].operator, found[2].operator
    mixed = read(restore_weights(corrected[BOTH].path.read_bytes(), float32.read_bytes(), [kept.index])).subgraphs[0]
    original = load(float32).subgraphs[0]
    for position in (1, 2):
        values = [np.asarray(one.tensors[one.operators[kept.index].inputs[position]].data) for one in (mixed, original)]
        np.testing.assert_array_equal(*values)
    changed = [np.asarray(one.tensors[one.operators[other.index].inputs[1]].data) for one in (mixed, original)]
    assert not np.array_equal(*changed)


def test_equalized_file_answers_the_same_with_channels_nearer_together(
    float32: Path,
    calibration_samples: CalibrationSamples,
    tmp_path: Path,
    found: list[Layer],
    outputs: list[dict[str, np.ndarray]],
) -> None:
    made = refine.equalize(nothing, float32, (calibration_samples.samples, CALLS), tmp_path / "equalized.tflite")
    assert made.tensors >= 4
    before, after = Runner(float32), Runner(made.path)
    for arrays in calibration_samples.samples.calls(CALLS):
        np.testing.assert_allclose(after(arrays)["scores"], before(arrays)["scores"], rtol=1e-3, atol=2e-4)
    first = found[0].operator.outputs[0]
    model = edit.unpack(made.path.read_bytes())
    edit.set_outputs(model, {"first": first})
    edit.write(model, tmp_path / "first.tflite")
    run = Runner(tmp_path / "first.tflite")
    sizes = np.max(
        [np.abs(run(arrays)["first"]).max((0, 1, 2)) for arrays in calibration_samples.samples.calls(CALLS)], 0
    )
    was = np.max([np.abs(call[str(first)]).max((0, 1, 2)) for call in outputs], 0)
    alive = was > 0
    assert was.max() / was[alive].min() > 1.5 * sizes.max() / sizes[alive].min()
    assert sizes.max() <= 6


def test_channels_that_were_hardly_ever_seen_are_not_enlarged(
    float32: Path,
    calibration_samples: CalibrationSamples,
    tmp_path: Path,
    found: list[Layer],
    outputs: list[dict[str, np.ndarray]],
) -> None:
    """Where they are larger on other samples, as they may well be, they would have the range of all."""
    size, shown = np.array([10.0, 0.1, 0.1, 0.1, 0.0]), np.array([100, 1000, 12, 3, 0])
    (factors,) = _factors(_TiedActivations({7}), {7: _ChannelRanges(size, shown)}).values()
    assert factors.tolist() == pytest.approx([1, 100**EQUALIZATION_STRENGTH, 12 / VALUES_PER_GAIN, 1, 1])
    first, content = found[0].operator.outputs[0], float32.read_bytes()
    graph = read(content)
    run = Runner(_expose(content, graph, [first], tmp_path / "shown.tflite"))
    seen = _channel_ranges(run, (calibration_samples.samples, CALLS), graph)[first]
    values = np.stack([np.abs(call[str(first)])[0] for call in outputs])  # [calls, height, width, channels]
    np.testing.assert_allclose(seen.size, values.max((0, 1, 2)), rtol=1e-6)
    assert seen.count.tolist() == (values.any((1, 2)).sum(0) * values[0, ..., 0].size).tolist()


@pytest.mark.parametrize(
    ("variant", "demanded", "choices"),
    [
        (Int8(), "as it is", ["bias_correction", "headroom", "equalization", "rounding"]),
        (Int16x8(), "headroom 2", ["bias_correction", "rounding"]),
        (Int16x8(headroom=1.0, rounding="off"), "as it is", ["bias_correction"]),
        (Int8(bias_correction="off"), "as it is", []),
        (Int8(bias_correction="on"), "bias correction", ["headroom", "equalization", "rounding"]),
        (Int8(bias_correction="on", rounding="off", equalization="off"), "bias correction", ["headroom"]),
        (Int8(bias_correction="off", headroom="expected"), "headroom", []),
        (Int8(headroom=1.0, rounding="off"), "as it is", ["bias_correction", "equalization"]),
        (Int8(bias_correction="off", rounding="on"), "rounding", []),
        (Int8(bias_correction="off", headroom=1.2), "headroom 1.2", []),
        (Int16x8(equalization="on", rounding="off"), "equalization + headroom 2", ["bias_correction"]),
    ],
)
def test_what_is_left_open(variant: Int8 | Int16x8, demanded: str, choices: list[str]) -> None:
    request = RefinementRequest.by(variant)
    assert request.required.in_words == demanded
    assert list(request.open_choices) == choices
    assert request.is_noop == (demanded == "as it is" and not choices)


def select(
    variant: Int8 | Int16x8,
    gains: dict[str, float],
    interaction: Mapping[str, float],
    ranges: Ranges = "auto",
    on_all_calls: Mapping[str, float] = {},
) -> tuple[RefinementConfig, list[str]]:
    """Run the selection where each correction has a gain of its own; return what is kept, and what was scored.

    `on_all_calls` has the gains that differ there.
    """
    selection, scored = refine.select_corrections(RefinementRequest.by(variant), ranges), list[str]()
    wanted = next(selection)
    while True:
        scores = {}
        for config in wanted.configs:
            scored.append(config.in_words)
            parts, effects = {*config.in_words.split(" + ")}, {"headroom": -2, **gains, **interaction}
            effects |= on_all_calls if wanted.on_all_calls else {}
            gain = sum(effect for names, effect in effects.items() if {*names.split(" + ")} <= parts)
            scores[config] = attempt(config, 20 + gain)
        try:
            wanted = selection.send(scores)
        except StopIteration as stop:
            return stop.value, scored


@pytest.mark.parametrize(
    ("gains", "interaction", "kept"),
    [
        ({"bias correction": 3, "rounding": 4}, {}, "bias correction + rounding"),
        ({"bias correction": 3, "rounding": 4, "equalization": -6}, {}, "bias correction + rounding"),
        ({"equalization": 2}, {}, "equalization"),
        ({"bias correction": -2, "equalization": 1},
         {"bias correction + equalization": 5}, "bias correction + equalization"),
        ({"bias correction": 1, "rounding": 1, "mse ranges": 9, "headroom": 0.5},
         {"rounding + mse ranges": -3}, "bias correction + headroom + mse ranges"),
        ({"percentile 99.999 ranges": 2, "percentile 99.99 ranges": -1}, {}, "percentile 99.999 ranges"),
        ({"bias correction": 0.05}, {}, "as it is"),
        ({"bias correction": -1, "rounding": -1, "equalization": -1, "headroom": -1}, {}, "as it is"),
    ],
)  # fmt: skip
def test_each_correction_is_kept_for_its_own_gain(
    gains: dict[str, float], interaction: dict[str, float], kept: str
) -> None:
    assert select(Int8(), gains, interaction)[0].in_words == kept


def test_choices_that_are_not_open_are_not_tried() -> None:
    _, scored = select(Int8(headroom=1.0), {"bias correction": 1, "equalization": 1}, {})
    assert not any("headroom" in name or "ranges" in name for name in scored)
    _, scored = select(Int8(), {"bias correction": 1, "headroom": 1}, {}, ranges="minmax")
    assert any("headroom" in name for name in scored)
    assert not any("ranges" in name for name in scored)
    assert len(select(Int16x8(), {"bias correction": 1, "rounding": 1}, {})[1]) == 4


def test_hopeless_choices_are_not_tried_again() -> None:
    """A second trial of equalization would need a second fit of all layers."""
    gains = {"bias correction": 3, "rounding": 4, "headroom": 1, "equalization": -4}
    scored = select(Int8(), gains, {})[1]
    assert len(scored) == len(set(scored))
    assert sum("equalization" in name for name in scored) == 1
    assert len(scored) <= 16


def test_without_a_score_of_the_demanded_one_nothing_is_selected() -> None:
    selection = refine.select_corrections(RefinementRequest.by(Int8()), "auto")
    next(selection)
    with pytest.raises(StopIteration) as stopped:
        selection.send({})
    assert stopped.value.value == RefinementConfig()


def near(*decibels: float) -> SignalAndNoise:
    """On one call each."""
    return SignalAndNoise((1.0,) * len(decibels), tuple(10 ** (-one / 10) for one in decibels))


def attempt(config: RefinementConfig, *decibels: float) -> HoldoutScore:
    return HoldoutScore(config, {str(place): near(*[value] * 4) for place, value in enumerate(decibels)})


@pytest.mark.parametrize(
    ("simple", "full", "kept"),
    [
        ((33.0,) * 8, (34.0,) * 8, BOTH),
        ((33.0, 34.0, 32.0, 33.5) * 2, (33.4, 33.2, 33.2, 33.1) * 2, BIAS),
        ((33.0,) * 8, (33.1,) * 8, BOTH),
        ((20.0,) * 8, (19.0,) * 8, ()),
        ((20.05,) * 8, (20.02,) * 8, ()),
    ],
    ids=["nearer", "by chance", "by little, but for certain", "worse", "nothing to gain"],
)
def test_the_simpler_one_is_kept_if_the_difference_may_be_chance(
    simple: tuple[float, ...], full: tuple[float, ...], kept: Keys
) -> None:
    tried = {(): (20.0,) * 8, BIAS: simple, BOTH: full}
    scores = [HoldoutScore(RefinementConfig(flags), {"a": near(*each)}) for flags, each in tried.items()]
    assert refine.simplest(scores, scores[0]).config.corrections == kept


def test_an_uncertain_output_counts_less() -> None:
    """Few calls decide its figure, so its gain may be chance."""
    steady, uneven = near(*(20.0,) * 8), near(20.0, *(60.0,) * 7)
    first = HoldoutScore(RefinementConfig(), {"steady": steady, "uneven": uneven})
    outputs = {"steady": near(*(23.0,) * 8), "uneven": near(14.0, *(60.0,) * 7)}
    other = HoldoutScore(RefinementConfig(BIAS), outputs)
    assert other.mean < first.mean
    weighted = other.weighted_by(first)
    assert weighted.weights["steady"] == 1 > 0.1 > weighted.weights["uneven"] > 0
    assert weighted.mean > first.weighted_by(first).mean
    assert weighted.gain_db(first.weighted_by(first))[0] == pytest.approx(3, abs=1)


@pytest.mark.parametrize(("loss", "is_kept"), [(0.9, True), (1.1, False)])
def test_headroom_may_lose_a_little(loss: float, is_kept: bool) -> None:
    """It is for samples that are rarer than the hold-out calls."""
    gains = {"bias correction": 5, "headroom": -loss}
    kept = "bias correction + headroom" if is_kept else "bias correction"
    assert select(Int8(), gains, {})[0].in_words == kept


@pytest.mark.parametrize(("gain", "kept"), [(0.2, "bias correction + headroom"), (0.05, "bias correction")])
def test_headroom_that_loses_much_is_decided_on_all_calls(gain: float, kept: str) -> None:
    """The hold-out calls may have no sample that is out of range."""
    gains, on_all_calls = {"bias correction": 5, "headroom": -1.5}, {"headroom": gain}
    assert select(Int8(), gains, {}, on_all_calls=on_all_calls)[0].in_words == kept
    assert select(Int8(), gains, {}, "minmax", on_all_calls)[0].in_words == kept
    assert select(Int8(), gains, {}, "mse", on_all_calls)[0].in_words == "bias correction"


def test_report_tells_of_headroom_on_all_calls(recipes: Recipes, tmp_path: Path) -> None:
    rows = np.clip(np.random.default_rng(1).normal(0, 1, (64, 8, 8, 3)), -1.5, 1.5).astype(np.float32)
    rows[27] *= 1.5  # a fitting call, so no hold-out call is as large
    np.savez(tmp_path / "rows.npz", image=rows)
    calibration = {"dataset": {"npz": str(tmp_path / "rows.npz")}, "samples": "all"}
    ran = recipes.run("tiny_conv_layers", ["int8"], calibration=calibration)
    (report,) = (variant["refinement"] for variant in ran.report["variants"])
    without, with_headroom = report["on_all_calls"]
    assert (without["tried"], with_headroom["tried"]) == ("bias correction", "bias correction + headroom")
    assert report["headroom"] == ("expected" if with_headroom["gain_db"] >= 0.1 else 1)
    assert "So both files were compared again on 64 calls, in parts. The ranges for each part are " in ran.page


@pytest.mark.parametrize(("calls", "held_out"), [(48, 48), (150, 150), (161, 160), (10_000, 160)])
def test_folds_of_all_calls(calls: int, held_out: int) -> None:
    folds = refine.folds_of_all(calls)
    assert sum(len(fold.holdout) for fold in folds) == held_out
    assert all(sorted(fold.fitting + fold.holdout) == [*range(calls)] for fold in folds)
    assert all(len(fold.holdout) <= MAX_HOLDOUT_CALLS for fold in folds)


def test_headroom_does_not_make_a_file_worse_than_it_is() -> None:
    assert select(Int8(), {"headroom": -0.5}, {})[0].in_words == "as it is"
    assert select(Int8(), {"bias correction": 0.3, "headroom": -0.5}, {})[0].in_words == "bias correction"


@pytest.mark.parametrize(
    ("noise", "decibels"), [((0.0, 0.0), 120), ((1e-30, 0.0), 120), ((np.nan, 1.0), -120), ((np.inf, 1.0), -120)]
)
def test_energies_are_always_told_in_decibels(noise: tuple[float, float], decibels: float) -> None:
    found = SignalAndNoise.of(np.array([[1.0, one, 0, 0, 0, 0] for one in noise]))
    assert found.sqnr_db == decibels
    attempt = HoldoutScore(RefinementConfig(), {"a": found})
    assert np.isfinite(attempt.gain_db(attempt)).all()


@pytest.mark.parametrize(("ranges", "is_kept"), [("auto", True), ("minmax", False)])
def test_values_of_one_odd_sample_are_left_out(
    recipes: Recipes, data: Path, tmp_path: Path, ranges: str, is_kept: bool
) -> None:
    with np.load(data / "images.npz") as held:
        columns = {name: held[name].astype(np.float32) for name in held.files}
    (image,) = (name for name, column in columns.items() if column.ndim == 4)
    columns[image][0] *= 60
    np.savez(tmp_path / "odd.npz", **columns)
    calibration = {"dataset": {"npz": str(tmp_path / "odd.npz")}, "samples": 24, "seed": "first", "ranges": ranges}
    variants = ["int8", {"mode": "int8", "name": "plain", **PLAIN}]
    ran = recipes.run("tiny_conv_layers", variants, calibration=calibration)
    told = {variant["name"]: variant["refinement"] for variant in ran.report["variants"]}
    assert (told["int8"]["ranges"] is not None) is is_kept
    assert (sqnr(ran, "int8") > sqnr(ran, "plain") + 6) is is_kept


def test_auto_is_nearer_on_samples_that_nothing_has_seen(recipes: Recipes, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    for name, count in {"calibration": 96, "evaluation": 200}.items():
        np.savez(tmp_path / f"{name}.npz", image=random.normal(0, 1, (count, 8, 8, 3)).astype(np.float32))
    ran = recipes.run(
        "tiny_conv_layers",
        ["int8", {"mode": "int8", "name": "plain", **PLAIN}],
        calibration={"dataset": {"npz": str(tmp_path / "calibration.npz")}, "samples": "all"},
        evaluation={"dataset": {"npz": str(tmp_path / "evaluation.npz")}},
    )
    assert sqnr(ran, "int8") > sqnr(ran, "plain") + 1


@pytest.mark.parametrize(("calls", "held"), [(3, []), (4, [2, 2]), (20, [10, 10]), (48, [12]), (500, [32])])
def test_samples_are_held_out(calls: int, held: list[int]) -> None:
    """If there are few samples, each is held out once."""
    folds = refine.folds(calls)
    assert [len(fold.holdout) for fold in folds] == held
    for fold in folds:
        assert sorted([*fold.fitting, *fold.holdout]) == list(range(calls))


PLAIN = {"bias_correction": "off"}
ALL_ON = {"bias_correction": "on", "rounding": "on", "equalization": "on", "headroom": 1.0}


@pytest.fixture(scope="module")
def ran(recipes: Recipes, data: Path) -> Ran:
    variants = [
        *(
            name | {"mode": mode, "name": f"{label}_{mode}"}
            for mode in ("int8", "int16x8")
            for label, name in (("plain", PLAIN), ("auto", {}), ("all", ALL_ON))
        ),
        {"mode": "int8", "name": "roomy", **PLAIN, "headroom": "expected"},
        {"mode": "int8", "name": "coarse", "per_channel": False, **ALL_ON},
        {"mode": "int8", "name": "kept", "keep_float": ["CONV_2D"], **ALL_ON},
    ]
    everything = {"npz": str(data / "images.npz")}
    return recipes.run("tiny_conv_layers", variants, calibration={"dataset": everything, "samples": 24})


def sqnr(ran: Ran, name: str) -> float:
    measured = ran.variant(name).measured
    assert measured is not None
    return measured.fidelity["scores"].sqnr_db or 200.0


def test_files_are_nearer_to_the_float_model_at_the_same_size(ran: Ran) -> None:
    assert set(ran.codes.values()) == {0}
    assert sqnr(ran, "auto_int16x8") > sqnr(ran, "plain_int16x8") + 6
    assert sqnr(ran, "all_int8") > sqnr(ran, "plain_int8") + 0.5
    for mode in ("int8", "int16x8"):
        plain, auto = (ran.graph(f"{label}_{mode}") for label in ("plain", "auto"))
        assert [op.type for op in auto.subgraphs[0].operators] == [op.type for op in plain.subgraphs[0].operators]
        assert auto.size_bytes <= plain.size_bytes * 1.005 + 200


def test_report_says_what_was_tried_and_kept(ran: Ran) -> None:
    told = {variant["name"]: variant["refinement"] for variant in ran.report["variants"]}
    assert told["plain_int8"] is None
    assert told["auto_int8"]["attempts"][0]["tried"] == "as it is"
    assert told["auto_int8"]["held_back_calls"] == 24
    assert [told[name]["leaves_out_activations"] for name in ("auto_int8", "auto_int16x8")] == [False, True]
    assert [told[name]["headroom"] for name in ("auto_int16x8", "all_int8", "roomy")] == [2, 1, "expected"]
    assert told["all_int8"]["attempts"] == []
    assert [told["all_int8"][key] for key in ("bias_correction", "rounding", "equalization")] == [True] * 3
    assert {layer["op"] for layer in told["all_int8"]["layers"]} >= {"CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"}
    assert "## Before quantizing" in ran.page
    assert "SQNR in dB on 24 hold-out calls" in ran.page
    assert f"within the standard error and {SIMILAR_DB:g} dB." in ran.page
    assert f"unless it loses more than {MAX_HEADROOM_LOSS_DB:g} dB." in ran.page
    assert f"The first is kept if none gains {MIN_GAIN_DB:g} dB." in ran.page
    assert "the figures are of rounded weights alone" in ran.page


def test_weights_of_the_file_are_those_that_were_chosen(ran: Ran, recipes: Recipes) -> None:
    """Rounding is not undone: it brings more than biases alone."""
    assert sqnr(ran, "all_int16x8") > sqnr(ran, "plain_int16x8") + 4


def test_kept_ops_have_the_weights_of_the_source(ran: Ran, float32: Path) -> None:
    (made,), (source,) = ran.graph("kept").subgraphs, load(float32).subgraphs
    kept = [op for op in made.operators if op.type == "CONV_2D"]
    originals = [op for op in source.operators if op.type == "CONV_2D"]
    assert [made.read_by(op)[1].dtype for op in kept] == ["float32"] * 3
    last = [np.asarray(graph.read_by(ops[-1])[1].data) for graph, ops in ((made, kept), (source, originals))]
    assert last[0].shape == last[1].shape


def test_nothing_is_found_twice(recipes: Recipes, tmp_path: Path) -> None:
    file = recipes.write("tiny_conv_layers", ["int8"])
    store = Store(tmp_path / "store", 10**9)
    first, second = keeping(file, store), keeping(file, store)
    assert any(stage.startswith("find the means") for stage in first.stages)
    repeated = ("find the mean", "equalize", "compare int8", "round")
    assert not any(stage.startswith(repeated) for stage in second.stages)
    assert first.variant("int8").file == second.variant("int8").file
    told = [replace(one.variant("int8"), seconds=0).refinement for one in (first, second)]
    assert told[0] == told[1]


def test_a_variant_that_is_added_has_samples_though_the_ranges_were_kept(recipes: Recipes, tmp_path: Path) -> None:
    file = recipes.write("tiny_conv_layers", ["int8"], converter={"equalization": "off"})
    store = Store(tmp_path / "store", 10**9)
    keeping(file, store)
    file.write_text(file.read_text().replace("- int8", "- int8\n- {mode: int8, name: rounded, rounding: 'on'}"))
    second = keeping(file, store)
    assert second.codes == {"int8": 0, "rounded": 0}
    assert not any(stage.startswith("observe") for stage in second.stages)


def test_what_must_be_done_and_cannot_be_is_refused(recipes: Recipes) -> None:
    ran = recipes.run("branches", [{"mode": "int8", "bias_correction": "on"}, "int8_only"])
    error = ran.variant("int8").error
    assert error is not None
    assert str(error).startswith("bias_correction, rounding, equalization and headroom need the activations")
    assert ran.variant("int8_only").error is None


def dies(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_cannot_be_tried_is_told_and_left_out(recipes: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "fit_statistics", dies)
    ran = recipes.run("tiny_conv", ["int8", {"mode": "int16x8", "rounding": "on"}])
    assert ran.codes == {"int8": 0, "int16x8": 5}
    (said,) = (one for one in ran.result.warnings if one.startswith("int8: quantized without bias correction"))
    assert "they could not be evaluated: find the means" in said
    assert "the worker process was killed (SIGKILL)" in said
    assert "the worker process was killed (SIGKILL)" in str(ran.variant("int16x8").error)
