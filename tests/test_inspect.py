from __future__ import annotations

import json
from typing import Any

import pytest
import tflite_edit as edit
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import Graph, read
from tflq.report.inspect import to_dict, to_json, to_text


def changed(name: str, change: Any) -> Graph:
    model = edit.load(name)
    change(model)
    return read(edit.packed(model))


def with_custom_operator(model: Any) -> None:
    code = model.operatorCodes[edit.operator(model, "SOFTMAX").opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"FlexSoftmax"


def with_float_softmax(model: Any) -> None:
    for tensor in (edit.written_by(model, "FULLY_CONNECTED"), edit.written_by(model, "SOFTMAX")):
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None


def with_scale_of_nothing(model: Any) -> None:
    edit.read_by(model, "QUANTIZE", 0).quantization.scale = [float("nan")]


def with_input_name(name: bytes) -> Any:
    def change(model: Any) -> None:
        model.signatureDefs[0].inputs[0].name = name

    return change


def without_signature(model: Any) -> None:
    model.signatureDefs = None


def with_open_batch(model: Any) -> None:
    edit.read_by(model, "QUANTIZE", 0).shapeSignature = [-1, 8, 8, 3]


@pytest.mark.parametrize("name", edit.NAMES)
def test_text_is_as_kept_beside_the_file(name: str) -> None:
    assert to_text(read(edit.raw(name))) + "\n" == (edit.DATA / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", ["input", "a/rather/long/path/of/scopes/" * 4])
def test_text_keeps_to_its_width(name: str, width: int) -> None:
    text = to_text(changed("cnn_int8", with_input_name(name.encode())), width)
    assert max(map(len, text.splitlines())) <= width
    assert "[1, 8, 8, 3]  0.02806518         139" in text


def test_names_are_not_taken_for_markup() -> None:
    assert "in   [red]x[/red]  uint8" in to_text(changed("cnn_int8", with_input_name(b"[red]x[/red]")))


def test_dimension_that_may_change_is_shown() -> None:
    graph = changed("cnn_int8", with_open_batch)
    assert "[?, 8, 8, 3]" in to_text(graph)
    assert to_dict(graph)["signatures"][0]["inputs"][0]["shape"] == (-1, 8, 8, 3)


def test_what_stays_in_float_is_said_first() -> None:
    graph = changed("cnn_int8", with_float_softmax)
    assert to_text(graph).splitlines()[1] == "left in float: 1 FULLY_CONNECTED, 1 SOFTMAX"
    types = [entry["type"] for entry in to_dict(graph)["float_ops"]]
    assert types == ["FULLY_CONNECTED", "SOFTMAX"]


def test_custom_operators_are_said() -> None:
    assert "custom    FlexSoftmax: the standard runtime does not have them" in to_text(
        changed("cnn_int8", with_custom_operator)
    )


def test_file_without_signature_is_shown_by_its_tensors() -> None:
    graph = changed("cnn_int8", without_signature)
    assert "no signature; inputs and outputs are named by their tensors" in to_text(graph)
    (signature,) = to_dict(graph)["signatures"]
    assert signature["key"] == ""
    assert [port["name"] for port in signature["inputs"]] == ["serving_default_image:0"]


def test_json_holds_what_a_caller_needs() -> None:
    told = json.loads(to_json(read(edit.raw("cnn_int8"))))
    assert told["size_bytes"] == 4000
    assert told["size_by_dtype"] == {"int8": 352, "int32": 88}
    assert (told["activations"], told["weights"]) == ("int8", "int8")
    assert told["minimum_runtime_version"] == "1.14.0"
    assert told["float_ops"] == told["violations"] == []
    assert told["signatures"][0]["inputs"] == [
        {"name": "image", "dtype": "uint8", "shape": [1, 8, 8, 3], "scale": 0.028065180405974388, "zero_point": 139}
    ]
    assert told["operators"][0] == {
        "type": "CONV_2D",
        "version": 3,
        "inputs": ["int8"],
        "weights": "int8",
        "outputs": ["int8"],
        "count": 1,
        "size_bytes": 248,
    }


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("cnn_int8", ("int8", "int8")),
        ("cnn_int16x8", ("int16", "int8")),
        ("cnn_float16", ("float32", "float16")),
        ("loop_float32", ("float32", "float32")),
    ],
)
def test_precision_is_told_in_two_words(name: str, precision: tuple[str, str]) -> None:
    told = to_dict(read(edit.raw(name)))
    assert (told["activations"], told["weights"]) == precision


def test_broken_rule_is_shown() -> None:
    graph = changed("cnn_int8", with_scale_of_nothing)
    told = json.loads(to_json(graph))
    assert [entry["rule"] for entry in told["violations"]] == ["V4"]
    assert told["signatures"][0]["inputs"][0]["scale"] is None
    assert "V4 error: QUANTIZE 'serving_default_image:0': has a scale of nan" in to_text(graph, 200)


def test_empty_graph_is_shown() -> None:
    graph = Graph(subgraphs=(), signatures=(), metadata=(), size_bytes=8, version=3, description="")
    assert to_text(graph).startswith("8 B, 0 operators")
    assert to_dict(graph)["activations"] is None
