from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tflite_edit as edit
from ai_edge_litert import schema_py_generated as schema

from tflq.errors import EvaluationError
from tflq.flatbuffer import Graph, read
from tflq.interpreter import reference_outputs
from tflq.rules import effect
from tflq.rules.rule_list import RULES, violations
from tflq.rules.violation import Violation

LOOP_BODY = 3
Edit = Callable[[Any], None]


def changed(name: str, change: Edit) -> Graph:
    model = edit.load(name)
    change(model)
    return read(edit.packed(model))


def found(name: str, change: Edit) -> tuple[Violation, ...]:
    """What the rules say of a good file in which one thing was changed."""
    return violations(changed(name, change))


def weights(model: Any, type_: str = "CONV_2D") -> Any:
    return edit.read_by(model, type_, 1)


def bias(model: Any, type_: str = "CONV_2D") -> Any:
    return edit.read_by(model, type_, 2)


def deep_bias(model: Any) -> Any:
    return bias(model, "DEPTHWISE_CONV_2D")


def dense(model: Any) -> Any:
    """An activation that is neither copied nor of a known range."""
    return edit.written_by(model, "FULLY_CONNECTED")


def softmax(model: Any) -> Any:
    return edit.written_by(model, "SOFTMAX")


def joined(model: Any) -> Any:
    return edit.written_by(model, "CONCATENATION")


def image(model: Any) -> Any:
    return edit.read_by(model, "QUANTIZE", 0)


def with_numbers(tensor: Callable[[Any], Any], dtype: str, number: int) -> Edit:
    """Make the first number of a constant another."""

    def change(model: Any) -> None:
        numbers = edit.numbers(model, tensor(model), dtype)
        numbers[0] = number
        edit.store(model, tensor(model), numbers)

    return change


def with_quantization(tensor: Callable[[Any], Any], **fields: Any) -> Edit:
    def change(model: Any) -> None:
        for name, value in fields.items():
            setattr(tensor(model).quantization, name, value)

    return change


def with_type(tensor: Callable[[Any], Any], dtype: str) -> Edit:
    def change(model: Any) -> None:
        tensor(model).type = getattr(schema.TensorType, dtype)

    return change


def scaled(tensor: Callable[[Any], Any], factor: float) -> Edit:
    def change(model: Any) -> None:
        quantization = tensor(model).quantization
        quantization.scale = [*quantization.scale[:-1], quantization.scale[-1] * factor]

    return change


def along_another_dimension(model: Any) -> None:
    tensor = weights(model, "DEPTHWISE_CONV_2D")
    tensor.shape, tensor.shapeSignature, tensor.quantization.quantizedDimension = [8, 3, 3, 1], None, 0


def without_scale(model: Any) -> None:
    dense(model).quantization = None


def with_shared_bias(model: Any) -> None:
    operator = edit.operator(model, "CONV_2D")
    operator.inputs = [*operator.inputs[:2], edit.operator(model, "DEPTHWISE_CONV_2D").inputs[2]]


def with_shared_place(model: Any) -> None:
    bias(model, "FULLY_CONNECTED").buffer = bias(model).buffer


def with_bias_of_zeros(model: Any) -> None:
    edit.store(model, bias(model), np.zeros(8, np.int32))
    scaled(bias, 2)(model)


def with_shared_bias_of_zeros(model: Any) -> None:
    with_shared_bias(model)
    with_bias_of_zeros(model)


def with_shared_place_of_zeros(model: Any) -> None:
    with_shared_place(model)
    edit.store(model, bias(model), np.zeros(8, np.int32))


def with_unused_scale(model: Any) -> None:
    """A tensor of no operator, which nothing computes with."""
    unused = schema.TensorT()
    unused.name, unused.quantization = b"unused", schema.QuantizationParametersT()
    unused.quantization.scale, unused.quantization.zeroPoint = [0.0], [0]
    model.subgraphs[0].tensors.append(unused)


def with_last(type_: str) -> Edit:
    """Put an operator of that type in the place of the softmax."""

    def change(model: Any) -> None:
        code = model.operatorCodes[edit.operator(model, "SOFTMAX").opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, type_)

    return change


def with_stray_input(model: Any) -> None:
    model.signatureDefs[0].inputs[0].tensorIndex = edit.operator(model, "CONV_2D").outputs[0]


def with_stray_output(model: Any) -> None:
    model.signatureDefs[0].outputs[0].tensorIndex = edit.operator(model, "MUL").outputs[0]


def with_one_name_twice(model: Any) -> None:
    model.signatureDefs[0].outputs *= 2


def without_signatures(model: Any) -> None:
    model.signatureDefs = None


def without_assignments(model: Any) -> None:
    for index, subgraph in enumerate(model.subgraphs[:2]):
        assigning = edit.operator(model, "ASSIGN_VARIABLE", index)
        subgraph.operators = [operator for operator in subgraph.operators if operator is not assigning]


def with_unknown_assignment(model: Any) -> None:
    """One subgraph assigns no more, and the other assigns to a handle from elsewhere."""
    assigning = edit.operator(model, "ASSIGN_VARIABLE", 0)
    without_assignments(model)
    assigning.inputs = model.subgraphs[0].inputs * 2
    model.subgraphs[0].operators.append(assigning)


def with_dense_zero_point(model: Any) -> None:
    """Dense weights and their bias with one scale each, and a zero point of the weights."""
    for tensor, point in ((weights(model, "FULLY_CONNECTED"), 3), (bias(model, "FULLY_CONNECTED"), 0)):
        tensor.quantization.scale, tensor.quantization.zeroPoint = [float(tensor.quantization.scale[0])], [point]


def with_scales_of_axes(model: Any) -> None:
    scales = schema.QuantizationParametersT(scale=[0.1] * 3, zeroPoint=[0] * 3)
    edit.read_by(model, "MEAN", 1).quantization = scales


def with_int16_probabilities(model: Any) -> None:
    """A SOFTMAX that reads int8 and writes int16, as in keyword spotting, and what reads it is gone."""
    tensor, last = softmax(model), edit.operator(model, "DEQUANTIZE")
    tensor.type = schema.TensorType.INT16
    tensor.quantization.scale, tensor.quantization.zeroPoint = [1 / 65536], [-32768]
    model.subgraphs[0].operators = [each for each in model.subgraphs[0].operators if each is not last]
    model.subgraphs[0].outputs = [edit.operator(model, "SOFTMAX").outputs[0]]
    model.signatureDefs[0].outputs[0].tensorIndex = model.subgraphs[0].outputs[0]


def with_text_of_scale_zero(model: Any) -> None:
    """Old converters gave all tensors a scale, floats and strings, too."""
    edit.written_by(model, "DEQUANTIZE").quantization = schema.QuantizationParametersT(scale=[0.0], zeroPoint=[0])


def with_int4_in_blocks(model: Any) -> None:
    """int4 weights whose scales are in another tensor."""
    tensor = weights(model, "FULLY_CONNECTED")
    edit.store(model, tensor, np.full(40, 0x88, np.uint8))
    tensor.type = schema.TensorType.INT4
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    tensor.quantization.details = schema.BlockwiseQuantizationT(blockSize=4)
    operator = edit.operator(model, "FULLY_CONNECTED")
    operator.inputs = [*operator.inputs[:2], -1]


BROKEN = [
    ("cnn_int8", "V1", "zero point 3", with_quantization(weights, zeroPoint=[0] * 7 + [3])),
    ("cnn_int8", "V2", "8 scales but 7 zero points", with_quantization(weights, zeroPoint=[0] * 7)),
    ("cnn_int8", "V2", "3 scales along dimension 0", with_scales_of_axes),
    ("cnn_int8", "V2", "apply them along dimension 3", along_another_dimension),
    ("cnn_int8", "V3", "4 scales", with_quantization(dense, scale=[0.1] * 4, zeroPoint=[0] * 4, quantizedDimension=1)),
    ("cnn_int16x8", "V3", "int16 with zero point 5", with_quantization(dense, zeroPoint=[5])),
    (
        "cnn_int8",
        "V4",
        "has a scale of 0: with it integers cannot represent the values",
        with_quantization(dense, scale=[0.0]),
    ),
    ("cnn_int8", "V4", "has a scale of nan", with_quantization(dense, scale=[float("nan")])),
    ("cnn_int8", "V4", "has a scale of inf", with_quantization(dense, scale=[float("inf")])),
    ("cnn_int8", "V4", "has a scale of -1", with_quantization(dense, scale=[-1.0])),
    ("cnn_int8", "V4", "int8 without a scale", without_scale),
    ("cnn_int8", "V5", "a bias of float32: beside int8 it should be int32", with_type(bias, "FLOAT32")),
    ("cnn_int16x8", "V5", "a bias of int32: beside int16 it should be int64", with_type(deep_bias, "INT32")),
    ("cnn_int8", "V5", "a bias with zero point -2", with_quantization(bias, zeroPoint=[-2] + [0] * 7)),
    ("cnn_int8", "V5", "1 scales, but the weights have 8", with_quantization(bias, scale=[0.1], zeroPoint=[0])),
    ("cnn_int8", "V6", "differs by 0.5 times", scaled(bias, 1.5)),
    ("cnn_int16x8", "V6", "differs by 0.5 times", scaled(bias, 1.5)),
    ("cnn_int8", "V6", "clipped to int32", with_numbers(bias, "int32", 2**31 - 1)),
    ("cnn_int8", "V6", "clipped to int32", with_numbers(bias, "int32", -(2**31))),
    ("cnn_int8", "V7", "shared by 2 operators, and its scale is wrong for 1", with_shared_bias),
    ("cnn_int16x8", "V7", "shared by 2 operators, and its scale is wrong for 1", with_shared_bias),
    ("cnn_int8", "V7", "overwritten by those of", with_shared_place),
    ("cnn_int8", "V8", "the kernel writes 1/256, -128", with_quantization(softmax, scale=[0.01])),
    ("cnn_int8", "V8", "the kernel writes 1/256, -128", with_quantization(softmax, zeroPoint=[0])),
    ("cnn_int16x8", "V8", "the kernel writes 1/32768, 0", with_quantization(softmax, scale=[0.01])),
    ("cnn_int8", "V8", "the kernel writes 1/128, 0", with_last("TANH")),
    ("cnn_int8", "V8", "the kernel writes 1/128, 0", with_last("L2_NORMALIZATION")),
    ("cnn_int8", "V8", "the kernel writes 1/16, 127", with_last("LOG_SOFTMAX")),
    ("cnn_int8", "V9", "the kernel only copies", scaled(joined, 2)),
    ("cnn_int16x8", "V9", "the kernel only copies", scaled(joined, 2)),
    ("cnn_int16x8", "V9", "the kernel only copies", scaled(joined, 1.0005)),
    ("cnn_int8", "V10", "zero point 200, which int8 cannot hold", with_quantization(dense, zeroPoint=[200])),
    ("cnn_int8", "V10", "zero point -1, which uint8 cannot hold", with_quantization(image, zeroPoint=[-1])),
    ("cnn_int8", "V12", "its input 'image' is not an input", with_stray_input),
    ("loop_float32", "V12", "its output 'y' is not an output", with_stray_output),
    ("loop_float32", "V12", "two outputs have one name", with_one_name_twice),
    ("loop_float32", "V15", "is read, but never assigned", without_assignments),
]
HARMLESS = [
    ("cnn_int8", "V1", "weights of -128: the specification has none", with_numbers(weights, "int8", -128)),
    ("cnn_int16x8", "V1", "weights of -128: the specification has none", with_numbers(weights, "int8", -128)),
    ("cnn_int8", "V2", "8 scales along dimension 3 of shape [8]", with_quantization(bias, quantizedDimension=3)),
    ("cnn_int8", "V1", "weights with zero point 3", with_dense_zero_point),
]
RIGHT = [
    ("cnn_int8", with_numbers(weights, "int8", -127)),
    ("cnn_int8", with_quantization(dense, zeroPoint=[127])),
    ("cnn_int16x8", with_type(bias, "INT32")),
    ("cnn_int8", with_bias_of_zeros),
    ("cnn_int8", with_shared_bias_of_zeros),
    ("cnn_int8", with_shared_place_of_zeros),
    ("cnn_int8", with_numbers(bias, "int32", 2**30)),
    ("cnn_int8", with_unused_scale),
    ("cnn_int8", with_int16_probabilities),
    ("cnn_int8", with_text_of_scale_zero),
    ("cnn_int8", with_int4_in_blocks),
    ("cnn_int8", with_last("LOGISTIC")),
    ("cnn_int8", scaled(joined, 1.0005)),
    ("cnn_int16x8", with_last("LOGISTIC")),
    ("cnn_int16x8", with_last("TANH")),
    ("loop_float32", with_unknown_assignment),
    ("loop_float32", without_signatures),
]


@pytest.mark.parametrize("name", edit.NAMES)
def test_what_the_converter_makes_breaks_no_rule(name: str) -> None:
    assert violations(read(edit.raw(name))) == ()


@pytest.mark.parametrize(("name", "rule", "message", "change"), BROKEN)
def test_one_change_breaks_one_rule(name: str, rule: str, message: str, change: Edit) -> None:
    (violation,) = found(name, change)
    assert (violation.rule, violation.severity) == (rule, "error")
    assert message in violation.message


@pytest.mark.parametrize(("name", "rule", "message", "change"), HARMLESS)
def test_what_was_seen_to_be_harmless_is_a_warning(name: str, rule: str, message: str, change: Edit) -> None:
    (violation,) = found(name, change)
    assert (violation.rule, violation.severity) == (rule, "warning")
    assert message in violation.message
    assert violation.runtimes


def answers(content: bytes) -> np.ndarray | None:
    """What LiteRT's reference kernels answer to one image; None if LiteRT refuses the file."""
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    try:
        return reference_outputs(content, [[image]]).calls[0][0]
    except EvaluationError:
        return None


REFUSED = [
    (effect.WEIGHT_ZERO_POINT, with_quantization(weights, zeroPoint=[0] * 7 + [3])),
    (effect.ZERO_POINT_COUNT, with_quantization(weights, zeroPoint=[0] * 7)),
    (effect.BIAS_DIMENSION, with_quantization(bias, quantizedDimension=3)),
    (effect.BIAS_TYPE, with_type(bias, "FLOAT32")),
    (effect.KNOWN_RANGE, with_quantization(softmax, zeroPoint=[0])),
    (effect.COPIED_SCALE, scaled(joined, 2)),
]


@pytest.mark.parametrize(("broken", "change"), REFUSED)
def test_litert_refuses_what_the_rule_says(broken: effect.Effect, change: Edit) -> None:
    (violation,) = found("cnn_int8", change)
    assert (violation.rule, violation.runtimes) == (broken.rule, broken.runtimes)
    assert "LiteRT" in broken.runtimes.split(";")[0]
    assert "refuse" in broken.runtimes.split(";")[0]
    model = edit.load("cnn_int8")
    change(model)
    assert answers(edit.packed(model)) is None


def test_litert_uses_the_lowest_weight_and_a_dense_zero_point() -> None:
    """The answers of both kinds of kernels are those of the same real weights, stored as the specification asks."""
    model, moved = edit.load("cnn_int8"), edit.load("cnn_int8")
    for each, shift in ((model, 0), (moved, 3)):
        with_dense_zero_point(each)
        tensor = weights(each, "FULLY_CONNECTED")
        edit.store(each, tensor, (np.clip(edit.numbers(each, tensor, "int8"), -120, 120) - shift).astype(np.int8))
    tensor.quantization.zeroPoint = [0]
    lowest, next_one = edit.load("cnn_int8"), edit.load("cnn_int8")
    with_numbers(weights, "int8", -128)(lowest)
    with_numbers(weights, "int8", -127)(next_one)
    for one, other in ((model, moved), (lowest, next_one)):
        first, second = answers(edit.packed(one)), answers(edit.packed(other))
        assert first is not None
        assert second is not None
        np.testing.assert_allclose(first, second, atol=3 / 256)


def test_effects_are_distinct_and_in_order() -> None:
    facts = [each.fact for each in effect.EFFECTS]
    assert len(facts) == len(set(facts)) > 20
    numbers = [int(each.rule[1:]) for each in effect.EFFECTS]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(("name", "change"), RIGHT)
def test_what_is_unusual_and_right_breaks_no_rule(name: str, change: Edit) -> None:
    assert found(name, change) == ()


def test_every_rule_has_a_change_that_breaks_it() -> None:
    seen = {rule for rule in RULES for name, _, _, change in [*BROKEN, *HARMLESS] if list(rule(changed(name, change)))}
    assert {rule.__name__ for rule in set(RULES) - seen} == {"scales_are_usual", "size_is_loadable"}


@pytest.mark.parametrize(("scale", "seen"), [(1e-9, "hardly differed from 0"), (1e5, "were in the millions")])
def test_scale_out_of_proportion_is_a_warning(scale: float, seen: str) -> None:
    (violation,) = found("cnn_int8", with_quantization(dense, scale=[scale]))
    assert (violation.rule, violation.severity) == ("V4", "warning")
    assert violation.message == f"has a scale of {scale:.2g}: in calibration its values {seen}"


def test_bias_near_its_end_is_a_warning() -> None:
    (violation,) = found("cnn_int8", with_numbers(bias, "int32", 1_500_000_000))
    assert (violation.rule, violation.severity) == ("V6", "warning")
    assert violation.message == "the bias is close to the limit of int32: 1,500,000,000"


def test_file_of_two_gigabytes_is_an_error() -> None:
    graph = read(edit.raw("cnn_int8"))
    assert violations(replace(graph, size_bytes=2**31 - 1)) == ()
    (violation,) = violations(replace(graph, size_bytes=2**31))
    assert (violation.rule, violation.where) == ("V12", "the file")


def test_place_is_named_by_operator_tensor_and_subgraph() -> None:
    (violation,) = found("cnn_int8", with_quantization(dense, scale=[0.0]))
    model = edit.load("cnn_int8")
    assert violation.where == f"FULLY_CONNECTED '{dense(model).name.decode()}'"

    def in_the_loop(model: Any) -> None:
        edit.written_by(model, "FULLY_CONNECTED", LOOP_BODY).type = schema.TensorType.INT32
        edit.written_by(model, "FULLY_CONNECTED", LOOP_BODY).quantization = schema.QuantizationParametersT()
        edit.written_by(model, "FULLY_CONNECTED", LOOP_BODY).quantization.scale = [0.0]
        edit.written_by(model, "FULLY_CONNECTED", LOOP_BODY).quantization.zeroPoint = [0]

    (violation,) = found("loop_float32", in_the_loop)
    assert violation.where == "FULLY_CONNECTED 'while/MatMul2' in while_body"


def test_all_lost_variables_are_one_violation() -> None:
    def with_another_variable(model: Any) -> None:
        without_assignments(model)
        edit.operator(model, "VAR_HANDLE", 1).builtinOptions.sharedName = b"other"
        reading = schema.OperatorT()
        reading.opcodeIndex = edit.operator(model, "READ_VARIABLE").opcodeIndex
        reading.inputs, reading.outputs = edit.operator(model, "VAR_HANDLE", 1).outputs, [0]
        model.subgraphs[1].operators.append(reading)

    (violation,) = found("loop_float32", with_another_variable)
    assert violation.message.endswith(" and 1 more are read, but never assigned")
