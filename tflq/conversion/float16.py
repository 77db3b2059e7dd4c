"""float16 weights in a float32 file: each float32 constant becomes float16, with a DEQUANTIZE op behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import constants, edit, metadata

LARGEST = float(np.finfo(np.float16).max)
"""Larger finite values become this value, as in the converter."""
VERSION = 3
"""The version of DEQUANTIZE with float16 inputs."""
SUPPORT = b"reduced_precision_support", b"fp16accfp32"
"""The metadata by which a delegate knows that it may compute in float16."""


def to_float16(model: Any) -> None:
    """Store all float32 constants that ops read as float16. The ops read the output of a DEQUANTIZE op.

    A constant that is also an output of its subgraph stays in float32 for that output.
    """
    for subgraph in model.subgraphs:
        read = dict.fromkeys(int(index) for operator in subgraph.operators for index in operator.inputs)
        weights = [
            index for index in read if index >= 0 and constants.is_float32_constant(model, subgraph.tensors[index])
        ]
        stored = {index: _with_float16(model, subgraph, index) for index in weights}
        for operator in subgraph.operators:
            inputs = map(int, operator.inputs)
            operator.inputs = [stored[index][1] if index in stored else index for index in inputs]
        conversions = [edit.conversion(model, "DEQUANTIZE", *tensors, VERSION) for tensors in stored.values()]
        subgraph.operators = [*conversions, *subgraph.operators]
    metadata.add_metadata(model, *SUPPORT)


def _with_float16(model: Any, subgraph: Any, index: int) -> tuple[int, int]:
    """Store the constant as float16, and return its index and that of a new tensor for its float32 values."""
    target = edit.add_copy(subgraph, index)
    if index in subgraph.outputs:
        index = edit.add_copy(subgraph, index)
    tensor = subgraph.tensors[index]
    exact = constants.float32_values(model, tensor)
    values = np.where(np.isinf(exact), exact, np.clip(exact, -LARGEST, LARGEST)).astype("<f2")
    subgraph.tensors[target].buffer = 0
    subgraph.tensors[target].name = tensor.name + b"_dequantized"
    tensor.type = schema.TensorType.FLOAT16
    tensor.buffer = constants.add_buffer(model, values)
    return index, target
