"""Fold float16 constants: each becomes the float32 constant that its DEQUANTIZE op computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import constants, edit


def fold_float16(model: Any) -> int:
    """Store the float16 constants behind DEQUANTIZE ops as float32, and return their number. All values are equal."""
    types = [edit.type_of(code) for code in model.operatorCodes]
    places: dict[int, int] = {}
    for subgraph in model.subgraphs:
        kept = []
        for operator in subgraph.operators:
            stored = subgraph.tensors[operator.inputs[0]] if types[operator.opcodeIndex] == "DEQUANTIZE" else None
            if stored is None or not _is_float16_constant(model, stored):
                kept.append(operator)
                continue
            if stored.buffer not in places:
                values = np.asarray(model.buffers[stored.buffer].data).view("<f2").astype("<f4")
                places[stored.buffer] = constants.add_buffer(model, values)
            subgraph.tensors[operator.outputs[0]].buffer = places[stored.buffer]
        subgraph.operators = kept
    if places:
        edit.drop_unused(model)
    return len(places)


def _is_float16_constant(model: Any, tensor: Any) -> bool:
    return tensor.type == schema.TensorType.FLOAT16 and edit.is_constant(model, tensor)
