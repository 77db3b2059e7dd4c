"""Keep ops in float: they look like custom ops while the other ops are quantized. No quantizer touches custom ops.

An op is identified by its index, because names may be ambiguous. This works with both quantizers, and a tensor between
two kept ops stays in float.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.conversion.int16_io import IoTensor, Side, detach_io, reattach_io
from tflq.errors import ConversionError
from tflq.flatbuffer import edit
from tflq.flatbuffer.loops import CONTROL_FLOW
from tflq.flatbuffer.metadata import raise_runtime_version, runtime_version

PREFIX = "tflq.kept."
NEVER_INTEGER = CONTROL_FLOW | {"CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
OPTIONS = ("builtinOptionsType", "builtinOptions", "builtinOptions2Type", "builtinOptions2", "customOptions")


@dataclass(frozen=True)
class HiddenOps:
    """The hidden ops of a model, and what is needed to restore them."""

    ops: Mapping[bytes, tuple[Any, tuple[Any, ...], tuple[int, ...]]]
    """By custom code: the operator code, the values of `OPTIONS`, and the positions of its variable inputs."""
    runtime: str
    """The oldest runtime version that has the original ops."""
    io_tensors: tuple[IoTensor, ...]


def hide_ops(
    model: Any, indices: Collection[int], int16_sides: Sequence[Side] = (), loops: Collection[int] = ()
) -> HiddenOps:
    """Turn ops of the first subgraph into custom ops, and give each its own constants.

    `int16_sides` says whether inputs or outputs of the model should be int16. If a hidden op uses one, it is detached.
    Ops that no quantizer turns into integers are not hidden, because the quantizer must recognize them, except `loops`.
    """
    (subgraph, *_) = model.subgraphs
    hidden: dict[bytes, tuple[Any, tuple[Any, ...], tuple[int, ...]]] = {}
    operators: dict[bytes, Any] = {}
    for index in sorted({*indices, *loops}):
        operator = subgraph.operators[index]
        code = model.operatorCodes[operator.opcodeIndex]
        if edit.type_of(code) in NEVER_INTEGER and index not in loops:
            continue
        name = f"{PREFIX}{index}".encode()
        states = (i for i, tensor in enumerate(operator.inputs) if tensor >= 0 and subgraph.tensors[tensor].isVariable)
        hidden[name] = code, tuple(getattr(operator, option) for option in OPTIONS), tuple(states)
        operators[name] = operator
        _set_options(operator, (0, None, 0, None, np.frombuffer(name, np.uint8)))
        operator.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(schema.OperatorCodeT(builtinCode=32, deprecatedBuiltinCode=32, customCode=name))
        copy_constants(model, subgraph, operator)
    edit.drop_unused_codes(model)
    io_tensors = tuple(io_tensor for side in int16_sides for io_tensor in detach_io(model, side, operators))
    return HiddenOps(hidden, runtime_version(model), io_tensors)


def restore_ops(content: bytes, hidden: HiddenOps) -> tuple[bytes, dict[int, int]]:
    """Return the quantized file with the original ops, and their places in it by their indices in the float32 file."""
    if not hidden.ops:
        return content, {}
    model = edit.unpack(content)
    (subgraph, *_) = model.subgraphs
    names = [model.operatorCodes[operator.opcodeIndex].customCode for operator in subgraph.operators]
    operators = {name: operator for name, operator in zip(names, subgraph.operators, strict=True) if name in hidden.ops}
    for name, operator in operators.items():
        code, options, states = hidden.ops[name]
        operator.opcodeIndex = edit.code_index(model, code)
        _set_options(operator, options)
        for position in states:
            operator.inputs[position] = edit.add_variable(subgraph, operator.inputs[position])
    reattach_io(model, hidden.io_tensors, operators)
    edit.drop_unused_codes(model)
    raise_runtime_version(model, hidden.runtime)  # the quantizer ignored the versions of hidden ops
    places = {id(operator): place for place, operator in enumerate(subgraph.operators)}
    return edit.pack(model), {
        int(name.decode().removeprefix(PREFIX)): places[id(operator)] for name, operator in operators.items()
    }


def with_float_weights(content: bytes, float32: bytes, indices: Collection[int]) -> bytes:
    """Return the dynamic-range file with the float32 weights of those ops. The indices are of the float32 file.

    ConversionError if the two files have different ops.
    """
    model, source = edit.unpack(content), edit.unpack(float32)
    operators, originals = _computing(model), _computing(source)
    if [_type_and_shapes(model, op) for op in operators] != [_type_and_shapes(source, op) for op in originals]:
        raise ConversionError(
            "keep_float: with int8 weights the converter writes other ops for this model than with float32 weights, so"
            " the ops cannot be matched. Use mode int8, or remove keep_float"
        )
    for index in sorted(indices):
        operator, original = operators[index], originals[index]
        operator.opcodeIndex = edit.code_index(model, source.operatorCodes[original.opcodeIndex])
        _set_options(operator, tuple(getattr(original, option) for option in OPTIONS))
        for position, place in enumerate(original.inputs):
            tensor = source.subgraphs[0].tensors[place]
            if place >= 0 and tensor.type == schema.TensorType.FLOAT32 and edit.is_constant(source, tensor):
                operator.inputs[position] = edit.copy_constant(model, source, place)
    edit.drop_unused(model)
    return edit.pack(model)


def _computing(model: Any) -> list[Any]:
    """Return all operators but those that only dequantize weights."""
    (subgraph, *_) = model.subgraphs
    return [
        operator
        for operator in subgraph.operators
        if edit.type_of(model.operatorCodes[operator.opcodeIndex]) != "DEQUANTIZE"
    ]


def _type_and_shapes(model: Any, operator: Any) -> tuple[str, list[list[int]]]:
    shapes = [list(model.subgraphs[0].tensors[index].shape) for index in operator.outputs]
    return edit.type_of(model.operatorCodes[operator.opcodeIndex]), shapes


def _set_options(operator: Any, values: tuple[Any, ...]) -> None:
    for option, value in zip(OPTIONS, values, strict=True):
        setattr(operator, option, value)


def copy_constants(model: Any, subgraph: Any, operator: Any) -> None:
    """Copy the constants that another op shares. A quantizer that overwrites constants in place would corrupt them."""
    shared = {index for other in subgraph.operators if other is not operator for index in other.inputs}
    for position, index in enumerate(operator.inputs):
        if index in shared and index >= 0 and edit.is_constant(model, subgraph.tensors[index]):
            operator.inputs[position] = edit.add_copy(subgraph, index)
