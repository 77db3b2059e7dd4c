"""Other values of constants: the same file as when it is built anew, and no change for others that share them."""

from __future__ import annotations

import numpy as np
import pytest
from running import Recipes

from tflq.flatbuffer import ROLES, Operator, edit, read, with_constants


@pytest.fixture(scope="module")
def float32(recipes: Recipes) -> bytes:
    return recipes.run("tiny_conv", ["float32"], calibration=None).file("float32").read_bytes()


def layers(content: bytes) -> list[Operator]:
    return [operator for operator in read(content).subgraphs[0].operators if operator.type in ROLES]


def weights(content: bytes, operator: Operator) -> np.ndarray:
    subgraph = read(content).subgraphs[0]
    tensor = subgraph.input(subgraph.operators[operator.index], ROLES[operator.type].weights)
    assert tensor is not None
    return np.asarray(tensor.data)


def test_only_these_bytes_change(float32: bytes) -> None:
    first, *others = layers(float32)
    doubled = with_constants(float32, {(first.index, ROLES[first.type].weights): 2 * weights(float32, first)})
    assert len(doubled) == len(float32)
    np.testing.assert_array_equal(weights(doubled, first), 2 * weights(float32, first))
    for other in others:
        np.testing.assert_array_equal(weights(doubled, other), weights(float32, other))


def test_the_given_bytes_stay(float32: bytes) -> None:
    (first, *_), before = layers(float32), bytes(bytearray(float32))
    with_constants(float32, {(first.index, ROLES[first.type].weights): 0 * weights(float32, first)})
    assert float32 == before


@pytest.mark.parametrize("kind", ["buffer", "tensor"])
def test_others_that_share_the_constant_keep_it(float32: bytes, kind: str) -> None:
    model = edit.unpack(float32)
    first, *_ = layers(float32)
    index = first.inputs[ROLES[first.type].weights]
    copy = edit.add_copy(model.subgraphs[0], index)
    reader = index if kind == "tensor" else copy
    model.subgraphs[0].operators.append(edit.conversion(model, "DEQUANTIZE", reader, copy))
    shared = edit.pack(model)
    doubled = with_constants(shared, {(first.index, ROLES[first.type].weights): 2 * weights(float32, first)})
    np.testing.assert_array_equal(weights(doubled, first), 2 * weights(float32, first))
    np.testing.assert_array_equal(read(doubled).subgraphs[0].tensors[reader].data, weights(float32, first))
