"""Comparisons of an activation with a constant in int8 files, such as those that find padding.

The quantizer gives the constant a scale of its own, so that often no step of the activation is equal to it: EQUAL is
then false for every input. It leaves NOT_EQUAL in float, behind a DEQUANTIZE, where the same happens. With the scale of
the activation, the constant is the step that an equal value of the activation has. So all comparisons are right for
values that are equal to the constant.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import edit

COMPARISONS = frozenset(["EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"])
INT8 = schema.TensorType.INT8
FIRST_INT8_VERSION = 2
"""The first version of NOT_EQUAL that has int8 inputs."""


def with_equal_steps(content: bytes) -> bytes:
    """Return the file in which comparisons of int8 activations read int8 constants with the same scale.

    NOT_EQUAL of a float input of the model stays in float, where it is exact. So does NOT_EQUAL with a constant beyond
    the range of the activation, to which no value of the activation is equal.
    """
    model = edit.unpack(content)
    types = [edit.type_of(code) for code in model.operatorCodes]
    if not COMPARISONS & {*types}:
        return content
    changes = [
        _compare_steps(model, place, operator, sources)
        for place, subgraph in enumerate(model.subgraphs)
        for sources in [dict(_sources(subgraph, types))]
        for operator in subgraph.operators
        if types[operator.opcodeIndex] in COMPARISONS
    ]
    if not any(changes):
        return content
    edit.drop_unused(model)
    return edit.pack(model)


def _sources(subgraph: Any, types: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the output of each DEQUANTIZE with the int8 tensor that it reads."""
    for operator in subgraph.operators:
        if types[operator.opcodeIndex] == "DEQUANTIZE" and subgraph.tensors[operator.inputs[0]].type == INT8:
            yield int(operator.outputs[0]), int(operator.inputs[0])


def _compare_steps(model: Any, place: int, operator: Any, sources: Mapping[int, int]) -> bool:
    """Let the operator compare int8 values of one scale if it can. Return whether it was changed."""
    tensors = model.subgraphs[place].tensors
    inputs = [sources.get(int(index), int(index)) for index in operator.inputs]
    constants = [position for position, index in enumerate(inputs) if edit.is_constant(model, tensors[index])]
    activations = [tensors[index] for position, index in enumerate(inputs) if position not in constants]
    if not activations or any(tensor.type != INT8 for tensor in activations):
        return False
    for position in constants:
        steps = _steps(_values(model, tensors[inputs[position]]), activations[0].quantization)
        if steps is None:
            return False
        name = tensors[inputs[position]].name.decode()
        inputs[position] = edit.add_constant(model, name, steps, "INT8", place)
        tensors[inputs[position]].quantization = copy.deepcopy(activations[0].quantization)
    if inputs == [*operator.inputs]:
        return False
    if tensors[operator.inputs[0]].type != INT8 or tensors[operator.inputs[1]].type != INT8:
        number = schema.BuiltinOperator.NOT_EQUAL
        code = schema.OperatorCodeT(number, version=FIRST_INT8_VERSION, builtinCode=number)
        operator.opcodeIndex = edit.code_index(model, code)
    operator.inputs = inputs
    return True


def _values(model: Any, tensor: Any) -> np.ndarray:
    """Return the real values of a float32 or int8 constant."""
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
    if tensor.type != INT8:
        return data.view("<f4").reshape(shape)
    steps = data.view("<i1").astype(np.float64) - tensor.quantization.zeroPoint[0]
    return np.asarray(np.float32(steps * tensor.quantization.scale[0])).reshape(shape)


def _steps(values: np.ndarray, quantization: Any) -> np.ndarray | None:
    """Return the int8 values of the constant with that scale; None if a value is beyond the range."""
    steps = np.asarray(np.round(values.astype(np.float64) / quantization.scale[0]) + quantization.zeroPoint[0])
    return steps.astype(np.int8) if np.all((steps >= -128) & (steps <= 127)) else None
