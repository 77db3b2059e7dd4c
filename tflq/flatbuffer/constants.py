"""Constants of a file that is edited: read them, add buffers, and share equal ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer.edit import is_constant

INT4 = (-8, 7)
"""The lowest and the highest integer of int4."""


def is_float32_constant(model: Any, tensor: Any) -> bool:
    return tensor.type == schema.TensorType.FLOAT32 and is_constant(model, tensor)


def float32_values(model: Any, tensor: Any) -> np.ndarray:
    """Return the values of the constant in its shape, as a view of its buffer, which may be larger."""
    shape = () if tensor.shape is None else tuple(tensor.shape)
    stored = np.asarray(model.buffers[tensor.buffer].data)[: 4 * math.prod(shape)]
    values: np.ndarray = stored.view("<f4").reshape(shape)
    return values


def add_buffer(model: Any, values: np.ndarray) -> int:
    """Add a buffer with these values, and return its index."""
    stored = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    model.buffers.append(schema.BufferT(data=stored))
    return len(model.buffers) - 1


def packed_int4(integers: np.ndarray) -> np.ndarray:
    """Return integers of int4, two in a byte, the first in the lowest bits. Their number must be even."""
    pairs = integers.reshape(-1, 2).astype(np.int8).view(np.uint8) & 15
    both: np.ndarray = pairs[:, 0] | pairs[:, 1] << 4
    return both


def share_buffers(model: Any) -> None:
    """Let constants of equal bytes share one buffer, and remove the buffers that nothing uses."""
    buffers, places = [model.buffers[0]], dict[bytes, int]()
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors if is_constant(model, tensor)]
    for tensor in tensors:
        content = model.buffers[tensor.buffer].data.tobytes()
        if content not in places:
            places[content] = len(buffers)
            buffers.append(model.buffers[tensor.buffer])
        tensor.buffer = places[content]
    for entry in model.metadata or []:
        buffers.append(model.buffers[entry.buffer])
        entry.buffer = len(buffers) - 1
    model.buffers = buffers
