"""int32 biases beside int16 activations: where no sum can exceed int32, with the same outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tflite_edit
from running import Recipes

from tflq.conversion.int32_biases import with_int32_biases
from tflq.cost_model import int16_multiply_adds
from tflq.flatbuffer import Graph, edit, read
from tflq.interpreter import Runner
from tflq.rules.rule_list import violations

IMAGES = np.random.default_rng(0).uniform(0, 1, (20, 1, 8, 8, 3)).astype(np.float32)
CONTENT = (tflite_edit.DATA / "cnn_int16x8.tflite").read_bytes()


def biases(graph: Graph) -> dict[str, str]:
    """The dtype of the bias of each op that has one."""
    ((subgraph, *_), positions) = graph.subgraphs, {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2}
    return {
        op.type: bias.dtype
        for op in subgraph.operators
        if op.type in positions and (bias := subgraph.input(op, positions[op.type])) is not None
    }


def test_ops_whose_kernels_take_it_get_an_int32_bias_and_answer_the_same(tmp_path: Path) -> None:
    made = with_int32_biases(CONTENT)
    assert biases(read(made)) == {"CONV_2D": "int32", "DEPTHWISE_CONV_2D": "int64", "FULLY_CONNECTED": "int32"}
    assert not [*violations(read(made))]
    (tmp_path / "made.tflite").write_bytes(made)
    before, after = Runner(tflite_edit.DATA / "cnn_int16x8.tflite"), Runner(tmp_path / "made.tflite")
    for image in IMAGES:
        np.testing.assert_allclose(after({"image": image})["scores"], before({"image": image})["scores"], atol=2e-4)
    assert int16_multiply_adds(read(made)) < int16_multiply_adds(read(CONTENT))


def test_versions_say_which_runtimes_have_the_kernels() -> None:
    model = edit.unpack(with_int32_biases(CONTENT))
    versions = {edit.type_of(code): code.version for code in model.operatorCodes}
    assert (versions["CONV_2D"], versions["FULLY_CONNECTED"], versions["DEPTHWISE_CONV_2D"]) == (8, 11, 3)
    assert read(edit.pack(model)).minimum_runtime_version == "2.15.0"


def with_weights(weights: np.ndarray, is_relu: bool = False, has_bias: bool = True) -> bytes:
    """The file with these weights, int8 [inputs], for every output of its dense layer, which reads the CONV_2D."""
    model = edit.unpack(CONTENT)
    (subgraph,) = model.subgraphs
    types = [edit.type_of(code) for code in model.operatorCodes]
    by_type = {types[op.opcodeIndex]: op for op in subgraph.operators}
    conv, dense = by_type["CONV_2D"], by_type["FULLY_CONNECTED"]
    conv.builtinOptions.fusedActivationFunction = int(is_relu)
    tensor = subgraph.tensors[dense.inputs[1]]
    outputs, tensor.shape = int(tensor.shape[0]), [int(tensor.shape[0]), len(weights)]
    model.buffers[tensor.buffer].data = np.tile(weights, outputs).view(np.uint8)
    dense.inputs = [conv.outputs[0], dense.inputs[1], dense.inputs[2] if has_bias else -1]
    return edit.pack(model)


@pytest.mark.parametrize(("inputs", "expected"), [(510, "int32"), (520, "int64")])
def test_sum_that_could_exceed_int32_keeps_the_int64_bias(inputs: int, expected: str) -> None:
    """510 · 127 · 2¹⁵ is below 2³¹ by more than the bias, and 520 · 127 · 2¹⁵ is above."""
    made = with_int32_biases(with_weights(np.full(inputs, 127, np.int8)))
    assert biases(read(made))["FULLY_CONNECTED"] == expected


@pytest.mark.parametrize(("is_relu", "expected"), [(True, "int32"), (False, "int64")])
def test_behind_a_relu_only_weights_of_one_sign_add_up(is_relu: bool, expected: str) -> None:
    made = with_int32_biases(with_weights(np.tile(np.array([127, -127], np.int8), 260), is_relu))
    assert biases(read(made))["FULLY_CONNECTED"] == expected


def test_layer_without_a_bias_gets_the_faster_kernel() -> None:
    model = edit.unpack(with_int32_biases(with_weights(np.ones(8, np.int8), has_bias=False)))
    (code,) = (code.version for code in model.operatorCodes if edit.type_of(code) == "FULLY_CONNECTED")
    assert code == 11


@pytest.mark.parametrize(
    ("mode", "key", "expected"),
    [
        ("int16x8", {}, "int32"),
        ("int16x8", {"bias_type": "int64"}, "int64"),
        ("int16x8_only", {}, "int64"),
        ("int16x8_only", {"bias_type": "int32"}, "int32"),
    ],
)
def test_key_of_the_recipe(recipes: Recipes, mode: str, key: dict[str, str], expected: str) -> None:
    ran = recipes.uncorrected.run("tiny_conv", [{"mode": mode, "name": "it", **key}])
    assert ran.result.exit_code == 0, ran.page
    assert biases(ran.graph("it"))["CONV_2D"] == expected
