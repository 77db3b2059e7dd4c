"""What becomes of an activation's values, and the ranges that are chosen for it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from observing import counted, squared_error
from running import Ran, Recipes

from tflq.calibrate.following_activation import following_activations, keeping_positive
from tflq.calibrate.histogram import SquaredError
from tflq.flatbuffer import Operator, Subgraph, Tensor

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
    function = following_activations(subgraph)[tensor(subgraph, name)]
    np.testing.assert_allclose(function(VALUES), EXPECTED[name](VALUES), atol=1e-3)


@pytest.mark.parametrize("name", ["gate", "read_twice"])
def test_what_is_no_function_of_it_alone(subgraph: Subgraph, name: str) -> None:
    assert tensor(subgraph, name) not in following_activations(subgraph)


def graph_of(*operators: Operator) -> Subgraph:
    """Tensor 0 is the input, and tensor 9 what is left at the end."""
    half = np.array([0.5], np.float32).view(np.uint8)
    tensors = [Tensor(index, "", "float32", (1, 4), (1, 4), 0) for index in range(10)]
    tensors[8] = Tensor(8, "half", "float32", (1,), (1,), 1, stored=half)
    return Subgraph(0, "main", tuple(tensors), operators, (0,), (9,))


@pytest.mark.parametrize(
    ("type_", "fused", "expected"),
    [
        ("RELU", "NONE", lambda x: np.maximum(x, 0)),
        ("RELU6", "NONE", lambda x: np.clip(x, 0, 6)),
        ("RELU_N1_TO_1", "NONE", lambda x: np.clip(x, -1, 1)),
        ("TANH", "NONE", np.tanh),
        ("HARD_SWISH", "NONE", lambda x: x * np.clip(x + 3, 0, 6) / 6),
        ("SUB", "RELU", lambda x: np.maximum(x - 0.5, 0)),
        ("MUL", "RELU6", lambda x: np.clip(x * 0.5, 0, 6)),
    ],
)
def test_function_of_one_op(type_: str, fused: str, expected: Callable[[np.ndarray], np.ndarray]) -> None:
    inputs = (0, 8) if type_ in ("SUB", "MUL") else (0,)
    subgraph = graph_of(Operator(0, type_, 1, inputs, (9,), fused=fused))
    np.testing.assert_allclose(following_activations(subgraph)[0](VALUES), expected(VALUES))


@pytest.mark.parametrize(
    "operators",
    [
        [Operator(0, "ADD", 1, (0, 8), (9,), fused="SIGN_BIT")],
        [Operator(0, "ADD", 1, (0, 7), (9,))],
        [Operator(0, "RELU", 1, (0,), (9,)), Operator(1, "ASSIGN_VARIABLE", 1, (8, 0), ())],
        [Operator(0, "RELU", 1, (0,), (9,)), Operator(1, "TANH", 1, (0,), (7,)), Operator(2, "ABS", 1, (7,), (6,))],
    ],
    ids=["a function that is not known", "another activation", "read beside it", "two functions"],
)
def test_what_cannot_be_told_is_no_function(operators: list[Operator]) -> None:
    assert following_activations(graph_of(*operators)) == {}


def test_values_far_out_are_no_trouble(subgraph: Subgraph) -> None:
    far = np.array([-1e38, 1e38])
    with np.errstate(all="raise", under="ignore"):
        for function in following_activations(subgraph).values():
            assert np.isfinite(function(far)).all()


@pytest.mark.parametrize("name", EXPECTED)
def test_the_range_is_that_of_least_error_behind_the_function(name: str) -> None:
    values = np.random.default_rng(0).normal(0, 3, 100_000).astype(np.float32)
    held, function = counted(values), EXPECTED[name]
    before, behind = (
        SquaredError(held, 8, *following_activations).least(float(values.min()), float(values.max()))
        for following_activations in ((), (function,))
    )
    assert before[0] < behind[0] < 0
    assert squared_error(values, *behind, function=function) < 0.95 * squared_error(values, *before, function=function)
    told = SquaredError(held, 8, function).within(*behind) / len(values)
    assert told == pytest.approx(squared_error(values, *behind, function=function), rel=0.1)


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
    made_by = {operator.outputs[0]: operator.type for operator in subgraph.operators}
    assert type_ in {made_by[made] for _, made in keeping_positive(subgraph)}
    read, made = scales(ran, type_)
    assert (read == made) is is_shared


def test_what_a_hard_swish_makes_0_is_cut_off(ran: Ran) -> None:
    subgraph = ran.graph("int8").subgraphs[0]
    quantization = subgraph.tensors[tensor(subgraph, "hard_swish")].quantization
    assert quantization is not None
    scale, zero_point = quantization.scales[0], quantization.zero_points[0]
    assert -6 < (-128 - zero_point) * scale < -2
    assert (127 - zero_point) * scale > 20
