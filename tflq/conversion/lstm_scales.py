"""Scales of fused LSTM ops. The kernel computes one value where the 8-bit quantizer writes up to three scales.

The op writes its output with the scale of its hidden state, and reads the output state with its own. The quantizer may
give the output another scale, as a CONCATENATION behind it needs. All values would then be wrong by that factor. An op
between the two that only moves values, such as REVERSE_V2, may get the scale of its output alone.
"""

from __future__ import annotations

import copy
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import MOVING, edit, op_types

FUSED_LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
PROJECTION, OUTPUT_STATE = 16, 18
"""The positions of inputs."""
HIDDEN_STATE = 4
"""The position of an intermediate tensor: the output before a projection."""


def with_equal_scales(content: bytes) -> bytes:
    """Return the file with the scale of the output for the output state and the hidden state of each int8 LSTM."""
    if FUSED_LSTM not in op_types(content):
        return content
    model = edit.unpack(content)
    types = [edit.type_of(code) for code in model.operatorCodes]
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            output = subgraph.tensors[operator.outputs[0]]
            if types[operator.opcodeIndex] == FUSED_LSTM and output.type == schema.TensorType.INT8:
                behind = _behind_moving_op(subgraph, types, int(operator.outputs[0]))
                if behind is not None and behind.type == output.type:
                    output.quantization = copy.deepcopy(behind.quantization)
                for index in _same_values(operator):
                    subgraph.tensors[index].quantization = copy.deepcopy(output.quantization)
    return edit.pack(model)


def _behind_moving_op(subgraph: Any, types: list[str], index: int) -> Any | None:
    """Return the output of the first op that only moves the values of that tensor; None without such an op."""
    for operator in subgraph.operators:
        if types[operator.opcodeIndex] in MOVING and len(operator.inputs) and operator.inputs[0] == index:
            return subgraph.tensors[operator.outputs[0]]
    return None


def _same_values(operator: Any) -> list[int]:
    """Return the tensors that hold the values of the output."""
    states = [int(operator.inputs[OUTPUT_STATE])]
    return states if operator.inputs[PROJECTION] >= 0 else [*states, int(operator.intermediates[HIDDEN_STATE])]
