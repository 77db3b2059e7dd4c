"""Biases of int32 in place of int64 beside int16 activations, where no sum of products can exceed int32.

LiteRT's kernels with an int64 bias use no vector instructions; those with an int32 bias do, and add in int32. The
largest possible sum follows from the weights, so that an overflow is excluded for every input.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import ROLES, edit
from tflq.flatbuffer.metadata import raise_runtime_version

VERSIONS = {"CONV_2D": 8, "FULLY_CONNECTED": 11}
"""The first version of each op that has a kernel with an int32 bias beside int16 activations."""
RUNTIME = "2.15.0"
"""The first runtime that has these versions."""
LIMIT = 2**31
TYPES = schema.TensorType
_ACTIVATION = schema.ActivationFunctionType
_NON_NEGATIVE = frozenset([_ACTIVATION.RELU, _ACTIVATION.RELU6])
_NON_NEGATIVE_OPS = frozenset(["RELU", "RELU6", "RELU_0_TO_1", "LOGISTIC", "SOFTMAX"])


@dataclass(frozen=True)
class _Op:
    """An op with int16 activations and int8 weights, its type, and the index of its bias, or -1."""

    operator: Any
    type: str
    bias: int


def with_int32_biases(content: bytes) -> bytes:
    """Return the file with int32 biases in all ops whose kernels take them and whose sums cannot exceed int32."""
    model, changed = edit.unpack(content), False
    types = [edit.type_of(code) for code in model.operatorCodes]
    for subgraph in model.subgraphs:
        non_negative = _non_negative_tensors(subgraph, types)
        users: dict[int, list[_Op]] = defaultdict(list)
        for op in list(_candidates(model, subgraph, types)):
            users[op.bias].append(op)
        readers = [int(index) for operator in subgraph.operators for index in operator.inputs]
        for bias, ops in users.items():
            fitting = [op for op in ops if _fits(model, subgraph, op, non_negative)]
            if fitting:
                _change(model, subgraph, fitting, keeps_old=readers.count(bias) > len(fitting))
                changed = True
    if not changed:
        return content
    edit.drop_unused_buffers(model)
    edit.drop_unused_codes(model)
    raise_runtime_version(model, RUNTIME)
    return edit.pack(model)


def _candidates(model: Any, subgraph: Any, types: Sequence[str]) -> Iterator[_Op]:
    for operator in subgraph.operators:
        type_ = types[operator.opcodeIndex]
        if type_ not in VERSIONS:
            continue
        roles = ROLES[type_]
        activation, weights = (subgraph.tensors[operator.inputs[place]] for place in (roles.activation, roles.weights))
        bias = int(operator.inputs[roles.bias]) if len(operator.inputs) > roles.bias else -1
        is_int16 = activation.type == TYPES.INT16 and weights.type == TYPES.INT8
        is_grouped = type_ == "CONV_2D" and activation.shape[-1] != weights.shape[-1]
        if not is_int16 or is_grouped or not edit.is_constant(model, weights):
            continue
        if bias < 0 or (subgraph.tensors[bias].type == TYPES.INT64 and edit.is_constant(model, subgraph.tensors[bias])):
            yield _Op(operator, type_, bias)


def _non_negative_tensors(subgraph: Any, types: Sequence[str]) -> frozenset[int]:
    """Return the tensors without negative values, as far as the ops that write them say so."""
    return frozenset(
        int(index)
        for operator in subgraph.operators
        if types[operator.opcodeIndex] in _NON_NEGATIVE_OPS
        or getattr(operator.builtinOptions, "fusedActivationFunction", None) in _NON_NEGATIVE
        for index in operator.outputs
    )


def _fits(model: Any, subgraph: Any, op: _Op, non_negative: frozenset[int]) -> bool:
    """Return whether no sum of products and bias can exceed int32, whatever the int16 values of the input are."""
    roles, inputs = ROLES[op.type], op.operator.inputs
    weights = subgraph.tensors[inputs[roles.weights]]
    stored = np.asarray(model.buffers[weights.buffer].data, np.uint8).view(np.int8)
    rows = stored.reshape(int(weights.shape[roles.channels]), -1).astype(np.int64)
    bias = 0 if op.bias < 0 else np.abs(_bias(model, subgraph, op.bias))
    above, below = rows.clip(min=0).sum(1), -rows.clip(max=0).sum(1)
    sums = np.maximum(above, below) if int(inputs[roles.activation]) in non_negative else above + below
    return bool(np.max(2**15 * sums + bias, initial=0) < LIMIT)


def _bias(model: Any, subgraph: Any, index: int) -> np.ndarray:
    return np.asarray(model.buffers[subgraph.tensors[index].buffer].data, np.uint8).view(np.int64)


def _change(model: Any, subgraph: Any, ops: list[_Op], keeps_old: bool) -> None:
    """Give the ops, which share one bias or have none, an int32 bias. `keeps_old`: other ops read the old one."""
    index = ops[0].bias
    if index >= 0:
        values = _bias(model, subgraph, index).astype("<i4")
        if keeps_old:
            index = edit.add_copy(subgraph, index)
            subgraph.tensors[index].quantization = copy.deepcopy(subgraph.tensors[ops[0].bias].quantization)
        model.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        subgraph.tensors[index].buffer, subgraph.tensors[index].type = len(model.buffers) - 1, TYPES.INT32
    for op in ops:
        if index >= 0:
            op.operator.inputs[ROLES[op.type].bias] = index
        op.operator.builtinOptions.quantizedBiasType = TYPES.INT32
        number = getattr(schema.BuiltinOperator, op.type)
        code = schema.OperatorCodeT(number, version=VERSIONS[op.type], builtinCode=number)
        op.operator.opcodeIndex = edit.code_index(model, code)
