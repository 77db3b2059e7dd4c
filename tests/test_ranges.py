"""Percentiles, least error, and what linters say, against NumPy on the values themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from observing import counted, gathered_from, nothing, observed, squared_error
from running import Ran, Recipes

from tflq.calibrate.calibration_data import ActivationStatistics, CalibrationData
from tflq.calibrate.data_checks import _other_calls, repeated_samples
from tflq.calibrate.headroom import headroom
from tflq.calibrate.histogram import SquaredError, count, histogram
from tflq.calibrate.observe import Observation
from tflq.calibrate.range_selection import select_ranges
from tflq.calibrate.ranges import Range, RangeMethod, ranges
from tflq.calibrate.sample_weights import sample_weights
from tflq.calibrate.schema import Calibration, Method, Percentile
from tflq.flatbuffer import load
from tflq.stages.activation_ranges import ActivationObserver
from tflq.worker import Workers

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(0, 1, 200_000).astype(np.float32)
OUTLIER = np.append(np.maximum(NORMAL, 0), np.float32(1000))


@pytest.mark.parametrize("percent", [90.0, 99.0, 99.9, 99.99, 100.0])
@pytest.mark.parametrize("values", [NORMAL, OUTLIER, -OUTLIER, NORMAL * 1e-9], ids=["normal", "high", "low", "tiny"])
def test_percentile_is_numpy_s_to_a_bin(values: np.ndarray, percent: float) -> None:
    expected = np.percentile(values, [100 - percent, percent], method="closest_observation")
    assert counted(values).percentile(percent) == pytest.approx(tuple(expected), rel=1 / 60, abs=1e-38)


def test_percentile_of_one_value_is_that_value() -> None:
    low, high = counted(np.full(10, 3.3)).percentile(99)
    assert low <= 3.3 <= high


def test_infinities_and_nan_are_left_out() -> None:
    low, high = counted(np.array([1.0, np.inf, -np.inf, np.nan])).percentile(100)
    assert (low, high) == pytest.approx((1.0, 1.0), rel=1 / 60)


@pytest.mark.parametrize("values", [NORMAL, np.maximum(NORMAL, 0), RNG.laplace(0, 1, 100_000).astype(np.float32)])
def test_least_error_is_near_the_best_of_all_clips(values: np.ndarray) -> None:
    low, high = SquaredError(counted(values), 8).least(float(values.min()), float(values.max()))
    least = min(squared_error(values, values.min() * part, values.max() * part) for part in np.arange(0.3, 1.01, 0.02))
    assert squared_error(values, low, high) < 1.05 * least
    assert squared_error(values, low, high) < 0.95 * squared_error(values, min(values.min(), 0), values.max())


def test_least_error_of_16_bits_keeps_nearly_all() -> None:
    low, high = SquaredError(counted(NORMAL), 16).least(float(NORMAL.min()), float(NORMAL.max()))
    assert (low, high) == pytest.approx((NORMAL.min(), NORMAL.max()), rel=0.01)


def test_least_error_keeps_what_it_cannot_improve() -> None:
    values = RNG.uniform(-1, 1, 10_000).astype(np.float32)
    assert SquaredError(counted(values), 8).least(-1.0, 1.0) == pytest.approx((-1, 1))
    assert SquaredError(counted(np.zeros(5)), 8).least(0.0, 0.0) == (0, 0)


def observation(maxima: np.ndarray) -> Observation:
    """Of calls and tensors whose minima are 0."""
    tensors = tuple(range(maxima.shape[1]))
    return Observation(tensors, np.zeros_like(maxima), maxima, np.ones(len(maxima), bool))


def test_weights() -> None:
    maxima = np.ones((20, 3), np.float32)
    maxima[7] = 1000
    seen = observation(maxima)
    assert sorted(sample_weights(seen, "few")) == [0, 2, 5, 8, 10, 13, 16, 19]
    assert len(sample_weights(seen, "all")) == 20
    weighted = sample_weights(seen, "weighted")
    assert weighted[0].tolist() == [1 << 20] * 3
    assert weighted[7].tolist() == [1] * 3


@pytest.fixture(scope="module")
def float32(recipes: Recipes) -> Path:
    return recipes.run("tiny_conv_residual", ["float32"], calibration=None).file("float32")


@pytest.mark.parametrize("method", [Percentile(percentile=99.0), "mse"])
def test_ops_that_share_a_scale_agree_and_fixed_ones_keep_theirs(
    float32: Path, data: Path, tmp_path: Path, method: Any
) -> None:
    calibration_samples = gathered_from(float32, data / "images.npz", tmp_path)
    graph, seen = load(float32), observed(float32, calibration_samples)
    counts = count(nothing, float32, calibration_samples.samples, sample_weights(seen, "weighted"))
    spread = dict(zip(seen.tensors, map(histogram, ([one] for one in counts)), strict=True))
    found = {one.tensor: one for one in ranges(graph, seen, spread, RangeMethod(method, 8))}
    (subgraph,) = graph.subgraphs
    for operator in subgraph.operators:
        output = found[operator.outputs[0]]
        if operator.type == "MAX_POOL_2D":
            assert limits(output) == limits(found[operator.inputs[0]])
        elif operator.type == "CONCATENATION":
            assert output.maximum == max(found[index].maximum for index in operator.inputs)
        elif operator.type in ("TANH", "SOFTMAX"):
            assert output.kept == 1
    assert any(one.kept < 0.98 for one in found.values())


def limits(one: Range) -> tuple[float, float]:
    return one.minimum, one.maximum


@pytest.fixture(scope="module")
def outliers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty vectors, one of which is a thousand times the rest."""
    rows = np.random.default_rng(1).normal(0, 1, (60, 16)).astype(np.float32)
    rows[41] *= 1000
    path = tmp_path_factory.mktemp("outliers") / "vectors.npz"
    np.savez(path, x=rows)
    return path


def sqnr(ran: Ran) -> float:
    measured = ran.variant("int8").measured
    assert measured is not None
    return float(measured.fidelity["y"].sqnr_db or 0)


@pytest.fixture(scope="module")
def with_outlier(recipes: Recipes, outliers: Path) -> dict[str, Ran]:
    methods = {"minmax": "minmax", "percentile": {"percentile": 98}, "mse": "mse"}
    return {
        name: recipes.run(
            "tiny_dense",
            ["int8", "int16x8"],
            calibration={"dataset": {"npz": str(outliers)}, "samples": "all", "ranges": method},
        )
        for name, method in methods.items()
    }


def test_clipping_recovers_what_an_outlier_costs(with_outlier: dict[str, Ran]) -> None:
    found = {name: sqnr(ran) for name, ran in with_outlier.items()}
    assert found["minmax"] < 5
    assert found["percentile"] > 20
    assert found["mse"] > 30


def test_outlier_is_named_with_its_row(with_outlier: dict[str, Ran]) -> None:
    warnings = with_outlier["minmax"].result.warnings
    assert any(
        said.startswith("calibration row 41 alone sets the ranges of 3 of 3 activations, which are ")
        and said.endswith(
            " times as wide with it as without it. Check that row. If it is right, set calibration.ranges to"
            " {percentile: 99.99} or mse, which clip such values"
        )
        for said in warnings
    )
    assert any(said.startswith("most of the range of 3 activations is for rare values: 99.99 % ") for said in warnings)


def test_what_auto_does_by_itself_is_not_advised(recipes: Recipes, outliers: Path) -> None:
    calibration = {"dataset": {"npz": str(outliers)}, "samples": "all"}
    ran = recipes.run("tiny_dense", ["int8"], calibration=calibration)
    assert ran.report["variants"][0]["refinement"]["ranges"] is not None
    assert sqnr(ran) > 30
    assert any(said.startswith("calibration row 41 alone ") for said in ran.result.warnings)
    assert not any("try calibration.ranges" in said for said in ran.result.warnings)


def test_report_tells_how_far_each_method_clips(with_outlier: dict[str, Ran]) -> None:
    for name, ran in with_outlier.items():
        clips = ran.report["ranges"]["clips"]
        assert len(clips) == 3
        assert all((clip["chosen"] == 1) == (name == "minmax") for clip in clips)
        assert all(clip["percentile"] < 0.01 for clip in clips if name == "minmax")
    assert "| activation | lowest | highest | minmax (used) | percentile 99.99 | mse |" in with_outlier["minmax"].page


UNCORRECTED = {"bias_correction": "off"}
"""For recipes whose samples matter and whose files do not: nothing is refined, which would take most of the time."""


def test_repeated_samples_are_told(recipes: Recipes, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(0, 1, (10, 16)).astype(np.float32)
    rows[8:] = rows[2]
    np.savez(tmp_path / "rows.npz", x=rows)
    dataset = {"dataset": {"npz": str(tmp_path / "rows.npz")}, "samples": "all"}
    said = recipes.run("tiny_dense", ["int8"], calibration=dataset, converter=UNCORRECTED).result.warnings
    assert any(
        one.startswith("2 of 10 calibration samples repeat another one: row 8 has the values of row 2. ")
        for one in said
    )


def test_samples_outside_their_declared_range_are_refused(recipes: Recipes) -> None:
    ran = recipes.run("tiny_dense", ["float32", "int8"], inputs={"x": {"range": [-0.1, 0.1]}})
    assert ran.codes == {"float32": 0, "int8": 4}
    assert ", but inputs.x.range says -0.1 to 0.1: check its scale and offset" in str(ran.variant("int8").error)


def test_samples_in_a_small_part_of_their_declared_range_are_told(recipes: Recipes) -> None:
    ran = recipes.run("tiny_dense", ["int8"], inputs={"x": {"range": [-255, 255]}}, converter=UNCORRECTED)
    assert any("a small part of the declared range, -255 to 255: check its" in said for said in ran.result.warnings)


def test_raw_pixels_are_told(recipes: Recipes, data: Path) -> None:
    rows = {"dataset": {"npz": str(data / "pixels.npz")}}
    keys = {"calibration": rows, "evaluation": rows, "converter": UNCORRECTED}
    said = recipes.run("tiny_conv", ["int8"], **keys).result.warnings
    assert any(one.startswith("input 'image' is from 0 to 255, like raw pixels: if the model expects ") for one in said)
    declared = {"image": {"range": [0, 255]}}
    quiet = recipes.run("tiny_conv", ["int8"], inputs=declared, **keys).result.warnings
    assert not any("raw pixels" in one for one in quiet)


def test_samples_in_both_datasets_are_counted(recipes: Recipes, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(0, 1, (20, 16)).astype(np.float32)
    np.savez(tmp_path / "calibration.npz", x=rows[:12])
    np.savez(tmp_path / "evaluation.npz", x=rows[9:])
    sections = {name: {"dataset": {"npz": str(tmp_path / f"{name}.npz")}} for name in ("calibration", "evaluation")}
    said = recipes.run("tiny_dense", ["int8"], converter=UNCORRECTED, **sections).result.warnings
    assert "3 of 11 evaluation samples are also calibration samples, so the metrics may be too good" in said


SPREAD = np.random.default_rng(0).gumbel(3, 1, 30).tolist()
"""How far each of thirty calls goes."""


@pytest.mark.parametrize(
    ("extremes", "values", "factors"),
    [
        ([1.0] * 30, 30, {1.0}),
        ([1.0] * 29 + [1.3], 30, {1.3}),
        ([1.0] * 29 + [1.3], 30 * 10**5, {1.0}),
        (SPREAD, 300, {1.3, 1.4, 1.5, 1.75}),
        (SPREAD, 300 * 10**5, {1.0}),
        ([0.0] * 30, 30, {1.0}),
        ([2.0], 1, {1.0}),
    ],
    ids=["all alike", "one is larger", "of many values", "a wide spread", "and many values", "nothing", "one call"],
)
def test_headroom_for_what_was_not_seen(extremes: list[float], values: float, factors: set[float]) -> None:
    assert headroom(np.array(extremes), values, 0.0, bits=8) in factors


@pytest.mark.parametrize("method", ["mse", "minmax"])
def test_ranges_have_headroom_where_little_was_seen(float32: Path, data: Path, tmp_path: Path, method: Method) -> None:
    calibration_samples = gathered_from(float32, data / "images.npz", tmp_path)
    graph, seen = load(float32), observed(float32, calibration_samples)
    counts = count(nothing, float32, calibration_samples.samples, sample_weights(seen, "weighted"))
    spread = dict(zip(seen.tensors, map(histogram, ([one] for one in counts)), strict=True))
    found = {bits: ranges(graph, seen, spread, RangeMethod(method, bits, has_headroom=True)) for bits in (8, 16)}
    assert any(one.kept > 1 for one in found[8])
    assert np.mean([one.kept for one in found[16]]) > np.mean([one.kept for one in found[8]])
    assert all(limits(one) == (one.lowest, one.highest) for one in found[8] if one.is_fixed)
    assert all(one.kept <= 1 for one in ranges(graph, seen, spread, RangeMethod(method, 8)))


@pytest.mark.parametrize("many", [64, 512, 1 << 20])
def test_of_large_activations_some_values_stand_for_others(
    many: int, float32: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tflq.stages.activation_ranges.MIN_COUNTED_VALUES", many)
    calibration_samples, graph = gathered_from(float32, data / "images.npz", tmp_path), load(float32)
    samples, seen = calibration_samples.samples, observed(float32, calibration_samples)
    parts = [range(0, samples.number_of_calls, 2), range(1, samples.number_of_calls, 2)]
    with Workers(tmp_path / "log", None, lambda _: None) as workers:
        observer = ActivationObserver(
            Calibration.model_validate({"dataset": {"npz": "any"}}), tmp_path, workers, jobs=2
        )
        calibration_data = CalibrationData(float32, ActivationStatistics(seen, {}))
        tasks = observer.part_counting_tasks(calibration_data, samples, parts, 1)
        found = [outcome.get() for outcome in workers.run_all(tasks, 2)]
    plain = sample_weights(seen, "weighted")
    shapes = [graph.subgraphs[0].tensors[index].shape for index in seen.tensors]
    for place, shape in enumerate(shapes):
        whole = np.prod(shape) * sum(int(plain[call][place]) for part in parts for call in part)
        assert sum(int(share[place].counts.sum()) for share in found) == pytest.approx(whole, rel=0.3)
        stride = int(tasks[0].arguments[3][place])
        assert stride <= max(1, samples.number_of_calls * np.prod(shape) / many)
        assert np.gcd(stride, shape[-1]) == 1


@pytest.fixture(scope="module")
def dense(recipes: Recipes) -> Path:
    return recipes.run("tiny_dense", ["float32"], calibration=None).file("float32")


def test_methods_are_compared_for_the_fewest_bits_of_a_variant(dense: Path, outliers: Path, tmp_path: Path) -> None:
    """16 bits leave out less than 8 for the least squared error."""
    calibration_samples = gathered_from(dense, outliers, tmp_path / "samples", 60)
    seen = observed(dense, calibration_samples)
    counts = count(nothing, dense, calibration_samples.samples, sample_weights(seen, "weighted"))
    spread = dict(zip(seen.tensors, map(histogram, ([one] for one in counts)), strict=True))
    calibration_data = CalibrationData(dense, ActivationStatistics(seen, spread))
    found = {
        bits: select_ranges(nothing, calibration_data, calibration_samples, "mse", bits).clips
        for bits in ((8,), (16,), (16, 8))
    }
    assert found[16, 8] == found[(8,)]
    narrow, wide = ({clip.tensor: clip.mse for clip in found[bits,]} for bits in (8, 16))
    assert narrow
    assert wide
    assert all(wide[tensor] > 1.5 * narrow[tensor] for tensor in {*narrow} & {*wide})


@pytest.mark.parametrize(
    ("count", "per_call", "said"),
    [
        (0, 1, ""),
        (1, 1, ", as does one other sample"),
        (2, 1, ", as do 2 other samples"),
        (1, 4, ", as does one other call"),
        (3, 4, ", as do 3 other calls"),
    ],
)
def test_further_samples_or_calls_are_told_in_plain_words(count: int, per_call: int, said: str) -> None:
    assert _other_calls(count, per_call) == said


def test_one_repeated_sample_is_told_in_the_singular(dense: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(0, 1, (4, 16)).astype(np.float32)
    rows[3] = rows[1]
    np.savez(tmp_path / "rows.npz", x=rows)
    (said,) = repeated_samples(gathered_from(dense, tmp_path / "rows.npz", tmp_path / "samples", 4))
    assert said == (
        "1 of 4 calibration samples repeats another one: row 3 has the values of row 1. It adds nothing to the ranges"
    )
