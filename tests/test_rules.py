from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tflite_edit as edit
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import read
from tflq.rules import RULES, Violation, violations

Edit = Callable[[Any], None]


def found(name: str, change: Edit) -> tuple[Violation, ...]:
    """What the rules say of a good file in which one thing was changed."""
    model = edit.load(name)
    change(model)
    return violations(read(edit.packed(model)))


def weights(model: Any, type_: str = "CONV_2D") -> Any:
    return edit.read_by(model, type_, 1)


def bias(model: Any, type_: str = "CONV_2D") -> Any:
    return edit.read_by(model, type_, 2)


def scores(model: Any) -> Any:
    """An activation that is neither copied nor of a known range: the dense layer's output."""
    return edit.written_by(model, "FULLY_CONNECTED")


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


def without_quantization(model: Any) -> None:
    scores(model).quantization = None


def with_shared_bias(model: Any) -> None:
    operator = edit.operator(model, "DEPTHWISE_CONV_2D")
    operator.inputs = [*operator.inputs[:2], edit.operator(model, "CONV_2D").inputs[2]]


def with_shared_place(model: Any) -> None:
    bias(model, "FULLY_CONNECTED").buffer = bias(model, "CONV_2D").buffer


def with_tanh(model: Any) -> None:
    code = model.operatorCodes[edit.operator(model, "SOFTMAX").opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TANH


def with_input_that_is_none(model: Any) -> None:
    model.signatureDefs[0].inputs[0].tensorIndex = edit.operator(model, "CONV_2D").outputs[0]


def with_output_that_is_none(model: Any) -> None:
    model.signatureDefs[0].outputs[0].tensorIndex = edit.operator(model, "CONV_2D").outputs[0]


def with_one_name_twice(model: Any) -> None:
    model.signatureDefs[0].outputs *= 2


def without_assignments(model: Any) -> None:
    assigning = [edit.operator(model, "ASSIGN_VARIABLE", subgraph) for subgraph in (0, 1)]
    for subgraph in model.subgraphs:
        subgraph.operators = [operator for operator in subgraph.operators if operator not in assigning]


GOOD = (*(("cnn_int8", "cnn_int16x8", "cnn_float16", "loop_float32")),)
BROKEN = [
    ("cnn_int8", "V1", "zero point 3", with_quantization(weights, zeroPoint=[0] * 7 + [3])),
    ("cnn_int8", "V1", "none below -127", with_numbers(weights, "int8", -128)),
    ("cnn_int16x8", "V1", "none below -127", with_numbers(weights, "int8", -128)),
    ("cnn_int8", "V2", "8 scales but 7 zero points", with_quantization(weights, zeroPoint=[0] * 7)),
    ("cnn_int8", "V2", "8 scales along dimension 3", with_quantization(bias, quantizedDimension=3)),
    ("cnn_int8", "V2", "for those of 3", along_another_dimension),
    (
        "cnn_int8",
        "V3",
        "4 scales",
        with_quantization(scores, scale=[0.1] * 4, zeroPoint=[0] * 4, quantizedDimension=1),
    ),
    ("cnn_int16x8", "V3", "int16 with zero point 5", with_quantization(scores, zeroPoint=[5])),
    ("cnn_int8", "V4", "a scale of 0", with_quantization(scores, scale=[0.0])),
    ("cnn_int8", "V4", "a scale of nan", with_quantization(scores, scale=[float("nan")])),
    ("cnn_int8", "V4", "a scale of inf", with_quantization(scores, scale=[float("inf")])),
    ("cnn_int8", "V4", "a scale of -1", with_quantization(scores, scale=[-1.0])),
    ("cnn_int8", "V4", "int8 without a scale", without_quantization),
    ("cnn_int8", "V5", "a bias of float32: beside int8 it should be int32", with_type(bias, "FLOAT32")),
    (
        "cnn_int16x8",
        "V5",
        "a bias of int32: beside int16 it should be int64",
        with_type(lambda model: bias(model, "DEPTHWISE_CONV_2D"), "INT32"),
    ),
    ("cnn_int8", "V5", "a bias with zero point -2", with_quantization(bias, zeroPoint=[-2] + [0] * 7)),
    ("cnn_int8", "V5", "1 scales, the weights have 8", with_quantization(bias, scale=[0.1], zeroPoint=[0])),
    ("cnn_int8", "V6", "differs by 0.5 times", scaled(bias, 1.5)),
    ("cnn_int16x8", "V6", "differs by 0.5 times", scaled(bias, 1.5)),
    ("cnn_int8", "V6", "cut off", with_numbers(bias, "int32", 2**31 - 1)),
    ("cnn_int8", "V6", "cut off", with_numbers(bias, "int32", -(2**31))),
    ("cnn_int8", "V7", "shared by 2 operators, and its scale is wrong for 1", with_shared_bias),
    ("cnn_int16x8", "V7", "shared by 2 operators, and its scale is wrong for 1", with_shared_bias),
    ("cnn_int8", "V7", "written over by those of", with_shared_place),
    ("cnn_int8", "V8", "the kernel writes 1/256, -128", with_quantization(lambda m: edit.written_by(m, "SOFTMAX"), scale=[0.01])),
    ("cnn_int8", "V8", "the kernel writes 1/256, -128", with_quantization(lambda m: edit.written_by(m, "SOFTMAX"), zeroPoint=[0])),
    ("cnn_int16x8", "V8", "the kernel writes 1/32768, 0", with_quantization(lambda m: edit.written_by(m, "SOFTMAX"), scale=[0.01])),
    ("cnn_int8", "V8", "the kernel writes 1/128, 0", with_tanh),
    ("cnn_int8", "V9", "the kernel only copies", scaled(lambda m: edit.written_by(m, "CONCATENATION"), 2)),
    ("cnn_int16x8", "V9", "the kernel only copies", scaled(lambda m: edit.written_by(m, "CONCATENATION"), 2)),
    ("cnn_int8", "V10", "zero point 200, which int8 has not", with_quantization(scores, zeroPoint=[200])),
    (
        "cnn_int8",
        "V10",
        "zero point -1, which uint8 has not",
        with_quantization(lambda m: edit.read_by(m, "QUANTIZE", 0), zeroPoint=[-1]),
    ),
    ("cnn_int8", "V12", "input 'image' is not an input", with_input_that_is_none),
    ("loop_float32", "V12", "output 'y' is not an output", with_output_that_is_none_of_the_loop := None),
    ("loop_float32", "V12", "two outputs have one name", with_one_name_twice),
    ("loop_float32", "V15", "is read, but never assigned", without_assignments),
]
