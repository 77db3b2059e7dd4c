"""Constants that changed beyond rounding, on graphs made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tflq.findings.constants import changed_constants
from tflq.flatbuffer import Graph, Operator, Quantization, Subgraph, Tensor
from tflq.result import Finding

RANDOM = np.random.default_rng(0)


def graph(values: np.ndarray, op: str, quantization: Quantization | None = None) -> Graph:
    """One op that reads an activation and this constant."""
    stored = np.ascontiguousarray(values)
    constant = Tensor(
        1,
        "net/c;fused",
        str(values.dtype),
        values.shape,
        values.shape,
        1,
        quantization,
        stored=stored.reshape(-1).view(np.uint8),
    )
    tensors = (Tensor(0, "x", "float32", (1, 4), (1, 4), 0), constant, Tensor(2, "y", "float32", (1, 4), (1, 4), 0))
    subgraph = Subgraph(0, "main", tensors, (Operator(0, op, 1, (0, 1), (2,)),), (0,), (2,))
    return Graph((subgraph,), (), (), 0, 3, "")


def dense(weights: np.ndarray, bias: np.ndarray) -> Graph:
    """One FULLY_CONNECTED with these weights and this bias."""
    constants = (
        Tensor(number, name, str(each.dtype), each.shape, each.shape, number, stored=each.reshape(-1).view(np.uint8))
        for number, name, each in ((1, "w", weights), (2, "b", bias))
    )
    x, y = (Tensor(number, name, "float32", (1, 4), (1, 4), 0) for number, name in ((0, "x"), (3, "y")))
    operator = Operator(0, "FULLY_CONNECTED", 1, (0, 1, 2), (3,))
    return Graph((Subgraph(0, "main", (x, *constants, y), (operator,), (0,), (3,)),), (), (), 0, 3, "")


def found(values: np.ndarray, after: np.ndarray, op: str, *scales: float) -> list[Finding]:
    quantization = Quantization(scales, (0,) * len(scales)) if scales else None
    return list(changed_constants(graph(values.astype(np.float32), op), graph(after, op, quantization)))


def rounded(values: np.ndarray, *scales: float) -> np.ndarray:
    steps = values / np.reshape(scales, (-1, *[1] * (values.ndim - 1)))
    return np.clip(np.rint(steps), -127, 127).astype(np.int8)


@pytest.mark.parametrize(
    ("values", "before", "after"),
    [([1.0, -2e5, 3.0], -2e5, -65504.0), ([1e-12], 1e-12, 0.0), ([3e-8, 5e-8, 2e-8], 5e-8, 2.0**-24)],
)
def test_values_outside_of_float16(values: list[float], before: float, after: float) -> None:
    constant = np.array(values)
    (one,) = found(constant, np.clip(constant, -65504, 65504).astype(np.float16), "SUB")
    assert (one.where, one.tensor) == ("constant 'net/c' of SUB", "net/c;fused")
    assert (one.before, one.after) == (pytest.approx(before), pytest.approx(after))


def test_a_few_small_values_of_float16_are_rounding() -> None:
    constant = np.array([1.0, 1e-9, 0.0, 2.0])
    assert found(constant, constant.astype(np.float16), "SUB") == []


@pytest.mark.parametrize(("largest", "count"), [(0.5, 0), (1e-6, 1)], ids=["large weights", "small weights"])
def test_tiny_biases_of_float16_matter_only_beside_tiny_weights(largest: float, count: int) -> None:
    weights, bias = np.full((1, 4), largest, np.float32), np.array([1.7e-7], np.float32)
    files = (dense(weights, bias), dense(weights.astype(np.float16), bias.astype(np.float16)))
    biases = [finding for finding in changed_constants(*files) if finding.tensor == "b"]
    assert len(biases) == count


def test_values_of_one_vector_that_became_0() -> None:
    constant, scale = np.array([101_325.0, 0.5, 3.0]), 101_325 / 127
    (one,) = found(constant, rounded(constant, scale), "SUB", scale)
    assert one.message == "changed beyond rounding: 3 became 0"


def test_channels_of_weights_under_one_large_scale() -> None:
    weights = RANDOM.normal(0, 0.1, (8, 64))
    weights[2] *= 1000
    scale = float(np.abs(weights).max() / 127)
    (one,) = found(weights, rounded(weights, scale), "FULLY_CONNECTED", scale)
    assert "leaves few levels for its values in 7 of its 8 channels" in one.cause


def test_weights_with_a_scale_for_each_channel_are_rounding() -> None:
    weights = RANDOM.normal(0, 0.1, (8, 64)) * np.geomspace(1, 1000, 8)[:, np.newaxis]
    scales = (np.abs(weights).max(1) / 127).tolist()
    assert found(weights, rounded(weights, *scales), "FULLY_CONNECTED", *scales) == []


def test_channels_that_hardly_matter_are_not_told() -> None:
    """One is negligible; in another, a single weight makes nearly all of the sum of squares."""
    weights = RANDOM.normal(0, 0.1, (8, 64))
    weights[2] *= 1e-8
    weights[5] *= 1e-3
    weights[5, 0] = 1.0
    scales = np.abs(weights).max(1) / 127
    scales[2] = 0.01
    assert found(weights, rounded(weights, *scales), "FULLY_CONNECTED", *scales.tolist()) == []


def test_errors_of_several_steps_make_up_for_those_of_other_weights() -> None:
    """A correction of the rounding moves weights further than to the nearest step."""
    weights = np.concatenate([RANDOM.normal(0, 0.001, (4, 40)), RANDOM.normal(0, 0.3, (4, 10)), np.ones((4, 1))], 1)
    scales = (np.abs(weights).max(1) / 127).tolist()
    after = rounded(weights, *scales)
    after[:, 40:50] -= 9 * np.sign(after[:, 40:50])
    noise = np.square(weights - after * np.reshape(scales, (4, 1))).sum(1)
    assert (noise > 0.01 * np.square(weights).sum(1)).all()
    assert found(weights, after, "FULLY_CONNECTED", *scales) == []


def test_pruned_weights_stay_as_they_are() -> None:
    weights = RANDOM.normal(0, 0.1, (4, 64)) * (RANDOM.random((4, 64)) < 0.1)
    scales = (np.abs(weights).max(1) / 127).tolist()
    assert found(weights, rounded(weights, *scales), "FULLY_CONNECTED", *scales) == []


def test_remedies_fit_masks_epsilons_and_vectors() -> None:
    mask, epsilon = np.array([-1e30]), np.array([1e-10])
    (of_mask,) = found(mask, np.clip(mask, -65504, 65504).astype(np.float16), "MUL")
    assert of_mask.remedy == "Use a smaller constant in the model, such as -1e4 for a mask"
    (of_epsilon,) = found(epsilon, rounded(epsilon, 4e-9), "ADD", 4e-9)
    assert of_epsilon.cause == "int8 has no scale small enough for it: a step is 4e-09"
    assert of_epsilon.remedy == "Use a larger constant in the model, such as 1e-6 for an epsilon"
    vector = np.array([101_325.0, 0.5, 3.0])
    (of_vector,) = found(vector, rounded(vector, 800.0), "SUB", 800.0)
    assert "per_channel" not in of_vector.remedy
