"""Observed ranges are the true ones, whatever the number of shards."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from observing import fixtures_for, gathered_from, observed, preserved
from running import Recipes

from tflq.calibrate.observe import Observation, activations, add_min_max_outputs, obstacle, shards
from tflq.calibrate.samples import CalibrationSamples
from tflq.errors import EvaluationError
from tflq.flatbuffer import load
from tflq.stages import activation_ranges

float32, calibration_samples = fixtures_for("tiny_conv_residual")


@pytest.fixture(scope="module")
def observation(float32: Path, calibration_samples: CalibrationSamples) -> Observation:
    return observed(float32, calibration_samples)


@pytest.fixture(scope="module")
def truth(float32: Path, calibration_samples: CalibrationSamples) -> list[dict[int, np.ndarray]]:
    return preserved(float32, calibration_samples)


def test_every_activation_is_observed(float32: Path, observation: Observation) -> None:
    graph = load(float32)
    made = {index for op in graph.subgraphs[0].operators for index in op.outputs}
    assert set(observation.tensors) == made | set(graph.subgraphs[0].inputs)
    assert len(observation.tensors) > 20


def test_extremes_are_the_true_ones_of_each_call(observation: Observation, truth: list[dict[int, np.ndarray]]) -> None:
    for place, tensor in enumerate(observation.tensors):
        assert observation.minima[:, place].tolist() == [values[tensor].min() for values in truth], tensor
        assert observation.maxima[:, place].tolist() == [values[tensor].max() for values in truth], tensor


def test_nan_is_looked_for_at_outputs_and_behind_roots(float32: Path, tmp_path: Path) -> None:
    before = [op.type for _, op in load(float32).operators()]
    observable = add_min_max_outputs(float32, tmp_path / "observable.tflite")
    after = [op.type for _, op in load(observable).operators()]
    assert before.count("SQRT") == 2
    assert after.count("MEAN") == before.count("MEAN") + 2 + 1


def test_shards_change_nothing(
    float32: Path, calibration_samples: CalibrationSamples, observation: Observation
) -> None:
    """Twenty calls are enough for three shards."""
    again = observed(float32, calibration_samples, parts=7)
    assert (again.minima == observation.minima).all()
    assert (again.maxima == observation.maxima).all()
    assert (again.is_finite == observation.is_finite).all()


@pytest.mark.parametrize(
    ("calls", "count", "bounds"),
    [(1, 2, [(0, 1)]), (8, 2, [(0, 8)]), (9, 2, [(0, 4), (4, 9)]), (100, 2, [(0, 50), (50, 100)])],
)
def test_shards_have_about_the_same_length(calls: int, count: int, bounds: list[tuple[int, int]]) -> None:
    assert [(part.start, part.stop) for part in shards(calls, count)] == bounds


def test_several_samples_a_call(recipes: Recipes, data: Path, tmp_path: Path) -> None:
    model = {"saved_model": str(recipes.models / "tiny_dense"), "batch_size": 8}
    file = recipes.run("tiny_dense", ["float32"], calibration=None, model=model).file("float32")
    calibration_samples = gathered_from(file, data / "vectors.npz", tmp_path)
    seen = observed(file, calibration_samples)
    rows = np.load(data / "vectors.npz")["x"][list(calibration_samples.rows)]
    assert (len(rows), seen.minima.shape[0]) == (20, 3)
    (place,) = [seen.tensors.index(index) for index in load(file).subgraphs[0].inputs]
    assert (seen.minima[:, place].min(), seen.maxima[:, place].max()) == (rows.min(), rows.max())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("branches", "its IF has bodies of control flow"),
        ("lstm.keras", None),
        ("lstm_keras2", "its UNIDIRECTIONAL_SEQUENCE_LSTM keeps its activations to itself"),
    ],
)
def test_obstacles(recipes: Recipes, model: str, reason: str | None) -> None:
    ran = recipes.run(model, ["float32"], calibration=None)
    assert obstacle(load(ran.file("float32"))) == reason


def test_what_cannot_be_observed_is_left_to_tensorflow_and_told(recipes: Recipes) -> None:
    ran = recipes.uncorrected.run("lstm_keras2", ["int8"])
    assert ran.codes == {"int8": 0}
    assert ran.report["ranges"]["found_by"] == "TensorFlow's calibrator"
    assert (
        "come from TensorFlow's calibrator, because its UNIDIRECTIONAL_SEQUENCE_LSTM keeps its activations" in ran.page
    )


def dies(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def stumbles(*_: object) -> NoReturn:
    raise KeyError("a mistake of ours")


def is_refused(*_: object) -> NoReturn:
    raise EvaluationError("observable.tflite: LiteRT cannot run this file: no kernel for that")


@pytest.mark.parametrize("function", ["observe", "count"])
@pytest.mark.parametrize(
    ("instead", "said"),
    [(dies, "the worker process was killed (SIGKILL)"), (stumbles, "KeyError: 'a mistake of ours'")],
)
def test_what_goes_wrong_while_observing_is_told(
    recipes: Recipes, monkeypatch: pytest.MonkeyPatch, function: str, instead: Callable[..., NoReturn], said: str
) -> None:
    """Other ranges in place of those that were asked for would hide it."""
    monkeypatch.setattr(activation_ranges, function, instead)
    ran = recipes.uncorrected.run("tiny_dense", ["dynamic", "int8"])
    assert ran.codes == {"dynamic": 0, "int8": 5}
    assert re.match(r"(observe the activations|count activation values), part \d: ", str(ran.variant("int8").error))
    assert said in str(ran.variant("int8").error)
    assert not any("calibrate with TensorFlow" in stage for stage in ran.stages)


def test_what_litert_refuses_to_observe_is_left_to_tensorflow_and_told(
    recipes: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation_ranges, "observe", is_refused)
    ran = recipes.uncorrected.run("tiny_dense", ["int8"])
    assert ran.codes == {"int8": 0}
    assert "come from TensorFlow's calibrator, because observable.tflite: LiteRT cannot run this file: no" in ran.page


def test_sums_that_overflow_are_no_infinite_activations(recipes: Recipes) -> None:
    """The mean of an output is no activation itself."""
    ran = recipes.uncorrected.run("operation_with_huge_values", ["int8"])
    assert "find values that are not finite" in ran.stages
    assert ran.report["ranges"]["found_by"] == "observation"
    assert ran.file("int8").is_file()


def test_clipping_needs_observation(recipes: Recipes, data: Path) -> None:
    rows = {"npz": str(data / "sequences.npz")}
    ran = recipes.uncorrected.run("lstm_keras2", ["dynamic", "int8"], calibration={"dataset": rows, "ranges": "mse"})
    assert ran.codes == {"dynamic": 0, "int8": 5}
    assert str(ran.variant("int8").error) == (
        "calibration.ranges: this model supports only minmax, because its UNIDIRECTIONAL_SEQUENCE_LSTM keeps its"
        " activations to itself, so TensorFlow's calibrator computes the ranges; write minmax"
    )


def test_constants_and_integers_have_no_range(recipes: Recipes) -> None:
    graph = load(recipes.run("embedding", ["float32"], calibration=None).file("float32"))
    tensors = graph.subgraphs[0].tensors
    assert {tensors[index].dtype for index in activations(graph)} == {"float32"}
    assert not any(tensors[index].is_constant for index in activations(graph))
