"""Comparisons of an activation with a constant in integer files, such as those that find padding.

The 8-bit quantizer gives the constant a scale of its own, so that often no step of the activation is equal to it: EQUAL
is then false for every input. It leaves NOT_EQUAL in float, behind a DEQUANTIZE, where the same happens. The 16-bit
quantizer leaves all comparisons there. With the scale of the activation, the constant is the step that an equal value
of the activation has. So all comparisons are right for values that are equal to the constant.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.contract import COMPARISONS
from tflq.flatbuffer import edit, op_types

DTYPES = {schema.TensorType.INT8: "INT8", schema.TensorType.INT16: "INT16"}
VERSIONS = {("NOT_EQUAL", "INT8"): 2, ("EQUAL", "INT16"): 4}
"""The first versions of ops with inputs of that dtype, where they are not 1."""


def with_equal_steps(
    content: bytes, places: Mapping[int, int] = MappingProxyType({}), kept: Collection[int] = ()
) -> tuple[bytes, dict[int, int]]:
    """Return the file in which comparisons of integer activations read constants with the same scale.

    A comparison with a float input of the model stays in float, where it is exact. So does one with a constant beyond
    the range of the activation.

    `places` has the places of some ops of the first subgraph by other indices; the new places are returned. The
    comparisons of the indices in `kept` are left alone.
    """
    if not COMPARISONS & op_types(content):
        return content, dict(places)
    model = edit.unpack(content)
    types = [edit.type_of(code) for code in model.operatorCodes]
    operators = {index: model.subgraphs[0].operators[place] for index, place in places.items()}
    left = {id(operators[index]) for index in kept if index in operators}
    changes = [
        _compare_steps(model, place, operator, sources)
        for place, subgraph in enumerate(model.subgraphs)
        for sources in [dict(_sources(subgraph, types))]
        for operator in subgraph.operators
        if types[operator.opcodeIndex] in COMPARISONS and id(operator) not in left
    ]
    if not any(changes):
        return content, dict(places)
    edit.drop_unused(model)
    after = {id(operator): place for place, operator in enumerate(model.subgraphs[0].operators)}
    return edit.pack(model), {index: after[id(operator)] for index, operator in operators.items()}


def _sources(subgraph: Any, types: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the output of each DEQUANTIZE with the integer tensor that it reads."""
    for operator in subgraph.operators:
        if types[operator.opcodeIndex] == "DEQUANTIZE" and subgraph.tensors[operator.inputs[0]].type in DTYPES:
            yield int(operator.outputs[0]), int(operator.inputs[0])


def _compare_steps(model: Any, place: int, operator: Any, sources: Mapping[int, int]) -> bool:
    """Let the operator compare integers of one scale if it can. Return whether it was changed."""
    tensors = model.subgraphs[place].tensors
    inputs = [sources.get(int(index), int(index)) for index in operator.inputs]
    constants = [position for position, index in enumerate(inputs) if edit.is_constant(model, tensors[index])]
    activations = [tensors[index] for position, index in enumerate(inputs) if position not in constants]
    if not activations or not _are_comparable(activations):
        return False
    kind = activations[0]
    for position in constants:
        steps = _steps(_values(model, tensors[inputs[position]]), kind)
        if steps is None:
            return False
        name = tensors[inputs[position]].name.decode()
        inputs[position] = edit.add_constant(model, name, steps, DTYPES[kind.type], place)
        tensors[inputs[position]].quantization = copy.deepcopy(kind.quantization)
    if inputs == [*operator.inputs]:
        return False
    if any(tensors[index].type != kind.type for index in operator.inputs):
        code = copy.copy(model.operatorCodes[operator.opcodeIndex])
        code.version = VERSIONS.get((edit.type_of(code), DTYPES[kind.type]), code.version)
        operator.opcodeIndex = edit.code_index(model, code)
    operator.inputs = inputs
    return True


def _are_comparable(activations: Sequence[Any]) -> bool:
    """Return whether they are integers that kernels compare. Kernels for int16 compare steps, whatever the scales."""
    first, *others = activations
    if first.type not in DTYPES or any(other.type != first.type for other in others):
        return False
    scales = {float(tensor.quantization.scale[0]) for tensor in activations}
    return DTYPES[first.type] == "INT8" or len(scales) == 1


def _values(model: Any, tensor: Any) -> np.ndarray:
    """Return the real values of a float32 or integer constant."""
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
    if tensor.type not in DTYPES:
        return data.view("<f4").reshape(shape)
    steps = data.view(DTYPES[tensor.type].lower()).astype(np.float64) - tensor.quantization.zeroPoint[0]
    return np.asarray(np.float32(steps * tensor.quantization.scale[0])).reshape(shape)


def _steps(values: np.ndarray, kind: Any) -> np.ndarray | None:
    """Return the integers of the constant with the type and scale of `kind`; None if a value is beyond the range."""
    limits, quantization = np.iinfo(DTYPES[kind.type].lower()), kind.quantization
    steps = np.asarray(np.round(values.astype(np.float64) / quantization.scale[0]) + quantization.zeroPoint[0])
    return steps.astype(limits.dtype) if np.all((steps >= limits.min) & (steps <= limits.max)) else None
