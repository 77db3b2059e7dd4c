"""Ops that stay in float: while the others are quantized they look like custom ops, which no quantizer touches.

This is exact where names are not: it takes an op by its place, in the files of both quantizers, and what passes from
one kept op to the next is not made into integers in between.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.calibrate import CONTROL_FLOW
from tflq.conversion.int16_io import IoTensor, Side, detach_io, reattach_io
from tflq.errors import ConversionError
from tflq.flatbuffer import edit

PREFIX = "tflq.kept."
NEVER_INTEGER = CONTROL_FLOW | {"CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
OPTIONS = ("builtinOptionsType", "builtinOptions", "builtinOptions2Type", "builtinOptions2", "customOptions")
RUNTIME = b"min_runtime_version"


@dataclass(frozen=True)
class HiddenOps:
    """What ops were before they were hidden, by the custom code that each got."""

    ops: Mapping[bytes, tuple[Any, tuple[Any, ...], tuple[int, ...]]]
    """The operator code, the values of `OPTIONS`, and where it reads a state of its own."""
    runtime: str
    """The oldest runtime that has the ops as they were."""
    ends: tuple[IoTensor, ...]


def hide_ops(model: Any, kept: Collection[int], sides: Sequence[Side] = ()) -> HiddenOps:
    """Turn these ops of the first subgraph into custom ones, each with constants of its own.

    What is to be int16 of that which the ops read or write on those sides of the model is taken away meanwhile.
    Those of which no quantizer makes integers anyway are left as they are: it must see them for what they are.
    """
    (subgraph, *_) = model.subgraphs
    hidden: dict[bytes, tuple[Any, tuple[Any, ...], tuple[int, ...]]] = {}
    operators: dict[bytes, Any] = {}
    for index in sorted(kept):
        operator = subgraph.operators[index]
        code = model.operatorCodes[operator.opcodeIndex]
        if edit.type_of(code) in NEVER_INTEGER:
            continue
        name = f"{PREFIX}{index}".encode()
        states = (i for i, tensor in enumerate(operator.inputs) if tensor >= 0 and subgraph.tensors[tensor].isVariable)
        hidden[name] = code, tuple(getattr(operator, option) for option in OPTIONS), tuple(states)
        operators[name] = operator
        _set_options(operator, (0, None, 0, None, np.frombuffer(name, np.uint8)))
        operator.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(schema.OperatorCodeT(builtinCode=32, deprecatedBuiltinCode=32, customCode=name))
        _copy_constants(model, subgraph, operator)
    edit.drop_unused_codes(model)
    ends = tuple(end for side in sides for end in detach_io(model, side, operators))
    return HiddenOps(hidden, _runtime(model), ends)


def restore_ops(content: bytes, hidden: HiddenOps) -> tuple[bytes, tuple[int, ...]]:
    """The quantized file with the ops as they were, and where in its first subgraph they are."""
    if not hidden.ops:
        return content, ()
    model = edit.unpack(content)
    (subgraph, *_) = model.subgraphs
    names = [model.operatorCodes[operator.opcodeIndex].customCode for operator in subgraph.operators]
    found = {name: operator for name, operator in zip(names, subgraph.operators, strict=True) if name in hidden.ops}
    for name, operator in found.items():
        code, options, states = hidden.ops[name]
        operator.opcodeIndex = edit.code_index(model, code)
        _set_options(operator, options)
        for position in states:
            operator.inputs[position] = edit.add_variable(subgraph, operator.inputs[position])
    reattach_io(model, hidden.ends, found)
    edit.drop_unused_codes(model)
    _raise_runtime(model, hidden.runtime)
    kept = {id(operator) for operator in found.values()}
    return edit.pack(model), tuple(i for i, operator in enumerate(subgraph.operators) if id(operator) in kept)


def with_float_weights(content: bytes, float32: bytes, chosen: Collection[int]) -> bytes:
    """The dynamic-range file, its ops of those places in the float32 file with that one's weights."""
    model, source = edit.unpack(content), edit.unpack(float32)
    operators, originals = (_computing(one) for one in (model, source))
    if [_name_of(model, one) for one in operators] != [_name_of(source, one) for one in originals]:
        raise ConversionError(
            "keep_float: the converter made other ops of this model with int8 weights than with float32 ones, so that"
            " they cannot be told apart; take int8, or leave keep_float out"
        )
    for index in sorted(chosen):
        operator, original = operators[index], originals[index]
        operator.opcodeIndex = edit.code_index(model, source.operatorCodes[original.opcodeIndex])
        _set_options(operator, tuple(getattr(original, option) for option in OPTIONS))
        for position, place in enumerate(original.inputs):
            tensor = source.subgraphs[0].tensors[place]
            if place >= 0 and tensor.type == schema.TensorType.FLOAT32 and edit.is_constant(source, tensor):
                operator.inputs[position] = edit.bring(model, source, place)
    edit.drop_unused(model)
    return edit.pack(model)


def _computing(model: Any) -> list[Any]:
    """The operators but those that only unpack weights."""
    (subgraph, *_) = model.subgraphs
    return [
        operator
        for operator in subgraph.operators
        if edit.type_of(model.operatorCodes[operator.opcodeIndex]) != "DEQUANTIZE"
    ]


def _name_of(model: Any, operator: Any) -> tuple[str, list[list[int]]]:
    shapes = [list(model.subgraphs[0].tensors[index].shape) for index in operator.outputs]
    return edit.type_of(model.operatorCodes[operator.opcodeIndex]), shapes


def _set_options(operator: Any, values: tuple[Any, ...]) -> None:
    for option, value in zip(OPTIONS, values, strict=True):
        setattr(operator, option, value)


def _copy_constants(model: Any, subgraph: Any, operator: Any) -> None:
    """A quantizer that overwrites constants in place would spoil those that another op shares."""
    shared = {index for other in subgraph.operators if other is not operator for index in other.inputs}
    for position, index in enumerate(operator.inputs):
        if index in shared and index >= 0 and edit.is_constant(model, subgraph.tensors[index]):
            operator.inputs[position] = edit.add_copy(subgraph, index)


def _runtime(model: Any) -> str:
    held = [entry.buffer for entry in model.metadata or [] if entry.name == RUNTIME]
    data = model.buffers[held[0]].data if held else None
    return "" if data is None else bytes(data).rstrip(b"\0").decode("ascii")


def _raise_runtime(model: Any, runtime: str) -> None:
    """The quantizer knew of no runtime for ops that it could not see."""
    if _order(runtime) > _order(_runtime(model)):
        (entry,) = (entry for entry in model.metadata if entry.name == RUNTIME)
        model.buffers[entry.buffer].data = np.frombuffer(runtime.encode().ljust(16, b"\0"), np.uint8)


def _order(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]
