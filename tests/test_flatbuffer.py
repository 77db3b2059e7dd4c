from __future__ import annotations

import pickle
import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tflite_edit as edit
from ai_edge_litert import schema_py_generated as schema

from tflq.errors import EvaluationError
from tflq.flatbuffer import ABSENT, Graph, Operator, Subgraph, has_real_values, operator_options, read


def graph_of(name: str) -> Graph:
    return read(edit.raw(name))


def first(graph: Graph, type_: str) -> tuple[Subgraph, Operator]:
    return next((subgraph, operator) for subgraph, operator in graph.operators() if operator.type == type_)


@pytest.mark.parametrize(
    ("name", "types"),
    [
        (
            "cnn_int8",
            "QUANTIZE CONV_2D DEPTHWISE_CONV_2D CONCATENATION MEAN FULLY_CONNECTED SOFTMAX DEQUANTIZE",
        ),
        (
            "loop_float32",
            "CALL_ONCE VAR_HANDLE READ_VARIABLE MUL WHILE ADD ASSIGN_VARIABLE READ_VARIABLE ADD"
            " VAR_HANDLE ASSIGN_VARIABLE LESS ADD FULLY_CONNECTED ADD ADD",
        ),
    ],
)
def test_operators_come_in_the_order_of_the_file(name: str, types: str) -> None:
    assert " ".join(operator.type for _, operator in graph_of(name).operators()) == types


def test_file_is_described() -> None:
    graph = graph_of("cnn_int8")
    assert graph.size_bytes == len(edit.raw("cnn_int8"))
    assert graph.version == 3
    assert graph.minimum_runtime_version == "1.14.0"
    assert [entry.name for entry in graph.metadata] == ["min_runtime_version", "CONVERSION_METADATA"]
    (signature,) = graph.signatures
    assert (signature.key, signature.subgraph) == ("serving_default", 0)
    assert [name for name, _ in signature.inputs + signature.outputs] == ["image", "scores"]
    image = graph.subgraphs[0].tensors[signature.inputs[0][1]]
    assert (image.dtype, image.shape, image.shape_signature) == ("uint8", (1, 8, 8, 3), (1, 8, 8, 3))


def test_weights_are_quantized_per_channel() -> None:
    subgraph, convolution = first(graph_of("cnn_int8"), "CONV_2D")
    weights = subgraph.input(convolution, 1)
    assert weights.dtype == "int8"
    assert weights.quantization.is_per_axis
    assert (len(weights.quantization.scales), weights.quantization.dimension) == (8, 0)
    assert weights.quantization.zero_points == (0,) * 8
    assert np.abs(weights.data).max() == 127
    assert weights.size_bytes == weights.data.size == 8 * 3 * 3 * 3
    assert not subgraph.written_by(convolution)[0].quantization.is_per_axis


@pytest.mark.parametrize(
    ("name", "dtype"), [("cnn_int8", "int8"), ("cnn_float16", "float16"), ("loop_float32", "float32")]
)
def test_constants_are_read_only_views_of_the_file(name: str, dtype: str) -> None:
    data = edit.raw(name)
    constants = [tensor for subgraph in read(data).subgraphs for tensor in subgraph.tensors if tensor.dtype == dtype]
    constants = [tensor for tensor in constants if tensor.is_constant]
    assert constants
    for tensor in constants:
        assert tensor.data.shape == tensor.shape
        assert tensor.data.dtype == dtype
        assert np.shares_memory(tensor.data, np.frombuffer(data, np.uint8))
        assert not tensor.data.flags.writeable


def test_activation_has_no_data() -> None:
    subgraph, convolution = first(graph_of("cnn_int8"), "CONV_2D")
    (output,) = subgraph.written_by(convolution)
    assert output.data is None
    assert (output.is_constant, output.size_bytes) == (False, 0)


def test_missing_input_keeps_its_position() -> None:
    subgraph, dense = first(graph_of("loop_float32"), "FULLY_CONNECTED")
    assert dense.inputs[2] == ABSENT
    assert subgraph.input(dense, 2) is None
    assert subgraph.input(dense, 7) is None
    assert [tensor.index for tensor in subgraph.read_by(dense)] == list(dense.inputs[:2])


def test_variable_has_one_name_in_all_subgraphs() -> None:
    handles = [op for _, op in graph_of("loop_float32").operators() if op.type == "VAR_HANDLE"]
    assert len(handles) == 2
    assert handles[0].variable
    assert handles[0].variable == handles[1].variable


def test_custom_operator_has_its_own_name() -> None:
    model = edit.load("cnn_int8")
    code = model.operatorCodes[edit.operator(model, "SOFTMAX").opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"FlexSoftmax"
    _, operator = first(read(edit.packed(model)), "FlexSoftmax")
    assert operator.is_custom


def test_model_without_signatures_has_none() -> None:
    model = edit.load("cnn_int8")
    model.signatureDefs, model.metadata = None, None
    graph = read(edit.packed(model))
    assert graph.signatures == ()
    assert graph.minimum_runtime_version is None


def test_range_alone_is_no_quantization() -> None:
    model = edit.load("loop_float32")
    written = edit.written_by(model, "ADD")
    written.quantization = schema.QuantizationParametersT()
    written.quantization.min, written.quantization.max = [-1.0], [1.0]
    subgraph, add = first(read(edit.packed(model)), "ADD")
    assert subgraph.written_by(add)[0].quantization is None


@pytest.mark.parametrize(
    ("dtype", "stored", "numbers"),
    [
        ("INT4", [0x1F, 0x78, 0x0C], [-1, 1, -8, 7, -4]),
        ("UINT4", [0x1F, 0x78, 0x0C], [15, 1, 8, 7, 12]),
        ("INT2", [0b11100100, 0b01], [0, 1, -2, -1, 1]),
        ("BOOL", [1, 0, 1, 1, 0], [True, False, True, True, False]),
    ],
)
def test_packed_integers_are_unpacked(dtype: str, stored: list[int], numbers: list[int]) -> None:
    tensor = constant_of(dtype, [5], stored)
    assert tensor.data.tolist() == numbers
    assert tensor.size_bytes == len(stored)


@pytest.mark.parametrize("dtype", ["STRING", "BFLOAT16", "FLOAT8_E5M2"])
def test_data_that_numpy_cannot_show_is_given_as_stored(dtype: str) -> None:
    tensor = constant_of(dtype, [2], [1, 0, 0, 0, 12, 0])
    assert tensor.dtype == dtype.lower()
    assert tensor.data.tolist() == [1, 0, 0, 0, 12, 0]


def test_sparse_data_is_given_as_stored() -> None:
    tensor = constant_of("FLOAT32", [100], [0, 0, 128, 63], schema.SparsityParametersT())
    assert tensor.is_sparse
    assert tensor.data.tolist() == [0, 0, 128, 63]


def constant_of(dtype: str, shape: list[int], stored: list[int], sparsity: Any = None) -> Any:
    """What is read of a constant that takes the place of the softmax's input."""
    model = edit.load("cnn_int8")
    tensor = edit.written_by(model, "FULLY_CONNECTED")
    tensor.type, tensor.shape, tensor.shapeSignature = getattr(schema.TensorType, dtype), shape, None
    tensor.quantization, tensor.sparsity, tensor.buffer = None, sparsity, len(model.buffers)
    model.buffers.append(schema.BufferT())
    edit.store(model, tensor, np.array(stored, np.uint8))
    subgraph, softmax = first(read(edit.packed(model)), "SOFTMAX")
    return subgraph.input(softmax, 0)


def test_constants_behind_the_flatbuffer_are_found() -> None:
    model = edit.load("cnn_int8")
    weights = edit.read_by(model, "CONV_2D", 1)
    data = edit.numbers(model, weights, "int8")
    model.buffers[weights.buffer].data = None
    model.buffers[weights.buffer].offset, model.buffers[weights.buffer].size = 2, data.size
    model.buffers[weights.buffer].offset = len(edit.packed(model))
    subgraph, convolution = first(read(edit.packed(model) + data.tobytes()), "CONV_2D")
    assert subgraph.input(convolution, 1).data.ravel().tolist() == data.tolist()
    with pytest.raises(EvaluationError, match="damaged or was cut short"):
        read(edit.packed(model) + data.tobytes()[:-1])


def test_graph_is_a_value() -> None:
    graph = graph_of("cnn_int8")
    assert graph == graph_of("cnn_int8")
    assert hash(graph) == hash(graph_of("cnn_int8"))
    assert pickle.loads(pickle.dumps(graph)) == graph
    assert graph != graph_of("cnn_int16x8")


@pytest.mark.parametrize("data", [b"", b"TFL3", b"version https://git-lfs.github.com/spec/v1\n", b"\0" * 100])
def test_other_files_are_told_apart(data: bytes) -> None:
    with pytest.raises(EvaluationError, match=r"not a \.tflite file: the identifier TFL3 is missing"):
        read(data)


@pytest.mark.parametrize("name", edit.NAMES)
def test_no_part_of_a_file_is_taken_for_the_whole(name: str) -> None:
    data = edit.raw(name)
    for length in range(8, len(data), 61):
        with pytest.raises(EvaluationError):
            read(data[:length])


@pytest.mark.parametrize("name", edit.NAMES)
def test_damage_gives_a_graph_or_a_plain_error(name: str) -> None:
    data, chance = bytearray(edit.raw(name)), random.Random(name)
    outcomes = {Graph: 0, EvaluationError: 0}
    for _ in range(400):
        damaged = bytearray(data)
        damaged[chance.randrange(8, len(data))] = chance.choice([0, 127, 128, 255, chance.randrange(256)])
        try:
            outcomes[type(read(bytes(damaged)))] += 1
        except EvaluationError:
            outcomes[EvaluationError] += 1
    assert all(outcomes.values())


def test_newer_operator_and_dtype_are_named() -> None:
    model = edit.load("cnn_int8")
    model.operatorCodes[0].builtinCode = 5000
    with pytest.raises(EvaluationError, match=r"operator has the unknown code 5000: .* needs a newer LiteRT"):
        read(edit.packed(model))
    model = edit.load("cnn_int8")
    edit.written_by(model, "SOFTMAX").type = 100
    with pytest.raises(EvaluationError, match=r"unknown dtype 100: .* needs a newer LiteRT"):
        read(edit.packed(model))


def test_constant_without_all_its_bytes_is_named() -> None:
    model = edit.load("cnn_int8")
    bias = edit.read_by(model, "FULLY_CONNECTED", 2)
    edit.store(model, bias, np.zeros(3, np.int32))
    with pytest.raises(EvaluationError, match=r"shape \[4\] and dtype int32 needs 16 bytes, but the file holds 12"):
        read(edit.packed(model))


@pytest.mark.parametrize("end", ["inputs", "outputs"])
def test_index_of_no_tensor_is_refused(end: str) -> None:
    model = edit.load("cnn_int8")
    setattr(model.subgraphs[0], end, [999])
    with pytest.raises(EvaluationError):
        read(edit.packed(model))


def test_tensorflow_is_not_needed() -> None:
    code = (
        "import sys; from tflq import flatbuffer; from tflq.rules.rule_list import violations;"
        " from tflq.report import inspect; graph = flatbuffer.read(open(sys.argv[1], 'rb').read());"
        " violations(graph); inspect.to_dict(graph);"
        " sys.exit(bool({'tensorflow', 'keras', 'tensorflow_datasets'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, str(edit.DATA / "cnn_int8.tflite")], check=True)


def test_scales_that_do_not_fit_give_no_real_values() -> None:
    subgraph, operator = first(graph_of("cnn_int8"), "CONV_2D")
    weights = subgraph.input(operator, 1)
    assert weights is not None
    assert weights.quantization is not None
    assert has_real_values(weights)
    fitting = weights.quantization
    for changed in (
        replace(fitting, dimension=9),
        replace(fitting, dimension=-1),
        replace(fitting, scales=(1.0, 2.0)),
        replace(fitting, zero_points=(0, 0)),
    ):
        assert not has_real_values(replace(weights, quantization=changed))


def test_damaged_options_are_told() -> None:
    """Somewhere in the file; damage elsewhere is refused when the graph is read."""
    content, found = edit.raw("cnn_int8"), 0
    for place in range(0, len(content), 4):
        damaged = content[:place] + b"\xff\xff\xff\x7f" + content[place + 4 :]
        try:
            read(damaged)
            operator_options(damaged)
        except EvaluationError as error:
            found += "the options of an operator are damaged" in str(error)
    assert found
