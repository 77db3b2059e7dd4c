"""Other forms of ops that a quantizer does not know. It sees them while it works, and the outputs stay equal."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.conversion.conversions import operator_type
from tflq.conversion.keep_float import copy_constants
from tflq.flatbuffer import constants, edit
from tflq.op_dtypes import PRODUCTS, QUANTIZABLE

FLOAT32 = schema.TensorType.FLOAT32
SELECTIONS = frozenset(("SELECT", "SELECT_V2"))
LARGEST_STEP = np.iinfo(np.int16).max
MAX_DIMENSIONS = 4
"""The most dimensions for which all runtimes have a MUL with a number."""


def write_products(model: Any) -> None:
    """Replace each op of PRODUCTS with float values by a product with its number, which has integer kernels."""
    for place, subgraph in enumerate(model.subgraphs):
        for index, operator in enumerate(subgraph.operators):
            factor = PRODUCTS.get(operator_type(model, operator))
            if factor is None:
                continue
            output = subgraph.tensors[operator.outputs[0]]
            if output.type != FLOAT32 or output.shape is None or len(output.shape) > MAX_DIMENSIONS:
                continue
            number = edit.add_constant(model, f"{output.name.decode()}/factor", np.array(factor), "FLOAT32", place)
            read = [int(operator.inputs[0]), number]
            product = edit.new_operator(model, "MUL", read, int(operator.outputs[0]), schema.MulOptionsT())
            subgraph.operators[index] = product


def own_constants(model: Any) -> None:
    """Give the ops that the 16-bit quantizer leaves in float their own constants.

    It makes integers of a constant that an op in 16 bits reads, too.
    """
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            if operator_type(model, operator) not in QUANTIZABLE["int16"]:
                copy_constants(model, subgraph, operator)


def hide_selections(model: Any) -> list[Any]:
    """Turn each SELECT and SELECT_V2 of float values into a MUL that also reads the condition. Return the ops before.

    The 16-bit quantizer leaves SELECT_V2 in float, and gives the inputs and the output of a SELECT different scales.
    For a MUL each tensor may have a scale of its own.
    """
    hidden = []
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            is_float = bool(operator.outputs) and subgraph.tensors[operator.outputs[0]].type == FLOAT32
            if is_float and operator_type(model, operator) in SELECTIONS:
                copy_constants(model, subgraph, operator)
                hidden.append((model.operatorCodes[operator.opcodeIndex], copy.copy(operator)))
                condition, *values = operator.inputs
                _become(operator, edit.new_operator(model, "MUL", [*values, condition], -1, schema.MulOptionsT()))
    return hidden


def restore_selections(content: bytes, hidden: Sequence[Any]) -> bytes:
    """Return the quantized file with the hidden ops. What they select has the scale of the output then."""
    if not hidden:
        return content
    model = edit.unpack(content)
    places = [
        (place, operator)
        for place, subgraph in enumerate(model.subgraphs)
        for operator in subgraph.operators
        if operator_type(model, operator) == "MUL" and len(operator.inputs) == 3
    ]
    for (place, operator), (code, before) in zip(places, hidden, strict=True):
        first, second, condition = (int(index) for index in operator.inputs)
        kind = model.subgraphs[place].tensors[operator.outputs[0]]
        values = [_with_scale_of(model, place, index, kind, operator) for index in (first, second)]
        before.opcodeIndex, before.inputs = edit.code_index(model, code), [condition, *values]
        _become(operator, before)
    edit.drop_unused_codes(model)
    return edit.pack(model)


def _become(operator: Any, other: Any) -> None:
    for field in ("opcodeIndex", "inputs", "builtinOptionsType", "builtinOptions"):
        setattr(operator, field, getattr(other, field))


def _with_scale_of(model: Any, place: int, index: int, kind: Any, reader: Any) -> int:
    """Return a tensor with these values and the scale of `kind`: the reader's own constant, or that of a QUANTIZE."""
    subgraph = model.subgraphs[place]
    tensor = subgraph.tensors[index]
    if kind.type == FLOAT32 or _scale(tensor) == _scale(kind):
        return index
    if edit.is_constant(model, tensor):
        steps = np.rint(model.buffers[tensor.buffer].data.view("<i2") * (_scale(tensor) / _scale(kind)))
        tensor.buffer = constants.add_buffer(model, np.clip(steps, -LARGEST_STEP, LARGEST_STEP).astype("<i2"))
        tensor.quantization = copy.deepcopy(kind.quantization)
        return index
    target = edit.add_copy(subgraph, index)
    subgraph.tensors[target].quantization = copy.deepcopy(kind.quantization)
    before = next(number for number, other in enumerate(subgraph.operators) if other is reader)
    subgraph.operators.insert(before, edit.conversion(model, "QUANTIZE", index, target))
    return target


def _scale(tensor: Any) -> float:
    return float(tensor.quantization.scale[0])
