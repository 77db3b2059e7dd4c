"""What becomes of an activation's values, and the ranges that are chosen for it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from running import Ran, Recipes

from tflq.calibrate.functions import functions, keeping_positive
from tflq.calibrate.histogram import Counts, SquaredError, _bins, histogram
from tflq.flatbuffer import Subgraph

VALUES = np.linspace(-8, 8, 161)
SLOPE = float(np.sqrt(np.square(np.linspace(-0.3, 0.4, 16)).mean()))
EXPECTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "prelu": lambda x: np.where(x > 0, x, SLOPE * x),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2,
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
}


@pytest.fixture(scope="module")
def ran(recipes: Recipes) -> Ran:
    calibration = {"dataset": {"npz": str(recipes.data / "images.npz")}, "samples": 20, "seed": 1, "ranges": "mse"}
    return recipes.run("tiny_conv_functions", ["float32", "int8"], calibration=calibration)


@pytest.fixture(scope="module")
def subgraph(ran: Ran) -> Subgraph:
    return ran.graph("float32").subgraphs[0]


def tensor(subgraph: Subgraph, name: str) -> int:
    """What the convolution of that name makes."""
    made = [operator.outputs[0] for operator in subgraph.operators if operator.type == "CONV_2D"]
    (found,) = [index for index in made if re.search(rf"\b{name}1?\b", subgraph.tensors[index].name)]
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_function(subgraph: Subgraph, name: str) -> None:
    function = functions(subgraph)[tensor(subgraph, name)]
    np.testing.assert_allclose(function(VALUES), EXPECTED[name](VALUES), atol=1e-3)


@pytest.mark.parametrize("name", ["gate", "read_twice"])
def test_what_is_no_function_of_it_alone(subgraph: Subgraph, name: str) -> None:
    assert tensor(subgraph, name) not in functions(subgraph)


def test_values_far_out_are_no_trouble(subgraph: Subgraph) -> None:
    far = np.array([-1e38, 1e38])
    with np.errstate(all="raise", under="ignore"):
        for function in functions(subgraph).values():
            assert np.isfinite(function(far)).all()


def squared_error(values: np.ndarray, ends: tuple[float, float], function: Callable[[np.ndarray], np.ndarray]) -> float:
    """Of integers of 8 bits in that range, once the function was applied to them."""
    low, high = ends
    step = (high - low) / 255
    integers = np.rint(np.clip(values, low, high) / step)
    return float(np.square(function(integers * step) - function(values)).sum())


@pytest.mark.parametrize("name", EXPECTED)
def test_the_range_is_that_of_least_error_behind_the_function(name: str) -> None:
    values = np.random.default_rng(0).normal(0, 3, 100_000).astype(np.float32)
    held, function = histogram([Counts(*np.unique(_bins(values), return_counts=True))]), EXPECTED[name]
    before, behind = (
        SquaredError(held, 8, *functions).least(float(values.min()), float(values.max()))
        for functions in ((), (function,))
    )
    assert before[0] < behind[0] < 0
    assert squared_error(values, behind, function) < 0.95 * squared_error(values, before, function)
    assert SquaredError(held, 8, function).of(*behind) == pytest.approx(
        squared_error(values, behind, function), rel=0.1
    )


def scales(ran: Ran, type_: str) -> tuple[float, float]:
    """Of what the one op of that type reads, and of what it makes."""
    subgraph = ran.graph("int8").subgraphs[0]
    (operator,) = [operator for operator in subgraph.operators if operator.type == type_]
    read, made = (subgraph.tensors[index].quantization for index in (operator.inputs[0], operator.outputs[0]))
    assert read is not None
    assert made is not None
    return read.scales[0], made.scales[0]


@pytest.mark.parametrize(("type_", "is_shared"), [("LEAKY_RELU", True), ("PRELU", False)])
def test_positive_values_are_rounded_once_where_most_are(
    ran: Ran, subgraph: Subgraph, type_: str, is_shared: bool
) -> None:
    """The PRELU reads as many negative values, which finer steps of their own serve better."""
    assert type_ in {operator.type for operator in keeping_positive(subgraph, functions(subgraph))}
    read, made = scales(ran, type_)
    assert (read == made) is is_shared


def test_what_a_hard_swish_makes_0_is_cut_off(ran: Ran) -> None:
    subgraph = ran.graph("int8").subgraphs[0]
    quantization = subgraph.tensors[tensor(subgraph, "hard_swish")].quantization
    assert quantization is not None
    scale, zero_point = quantization.scales[0], quantization.zero_points[0]
    assert -6 < (-128 - zero_point) * scale < -2
    assert (127 - zero_point) * scale > 20
