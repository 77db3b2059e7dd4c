"""Statistics of the weights of a file after pruning or clustering: the share of zeros, and the distinct values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tflq.flatbuffer.graph import Graph, Tensor
from tflq.flatbuffer.roles import ROLES

WEIGHTS = frozenset({"float32", "float16", "int16", "int8", "int4", "int2"})
"""The dtypes of weights. Shapes, axes and biases of integer files are int32 and int64."""
ONE_SCALE = {"FULLY_CONNECTED"}
"""Ops whose channels share one scale, unless the file has more scales."""


@dataclass(frozen=True)
class Weights:
    """The statistics of a constant with two or more dimensions that an operator reads."""

    op: str
    tensor: str
    dtype: str
    shape: tuple[int, ...]
    zeros: float
    """The share of values that are 0, from 0 to 1."""
    distinct: int
    """The number of distinct stored values."""
    distinct_per_channel: int
    """The largest number of distinct values in one output channel. Each channel may have its own scale."""


def weights(graph: Graph) -> Iterator[Weights]:
    """Yield statistics of every weight tensor once, in the order of the operators. Sparse tensors are left out."""
    buffers: set[int] = set()
    for subgraph, operator in graph.operators():
        for tensor in subgraph.read_by(operator):
            if _is_weight(tensor) and tensor.buffer not in buffers:
                buffers.add(tensor.buffer)
                yield _weights(operator.type, tensor)


def _is_weight(tensor: Tensor) -> bool:
    is_stored = tensor.is_constant and not tensor.is_sparse and tensor.dtype in WEIGHTS
    return is_stored and len([size for size in tensor.shape if size > 1]) > 1


def _channels(op: str) -> int | None:
    roles = None if op in ONE_SCALE else ROLES.get(op)
    return roles.channels if roles else None


def _weights(op: str, tensor: Tensor) -> Weights:
    values = np.asarray(tensor.data)
    quantization = tensor.quantization
    zero = quantization.zero_points[0] if quantization and quantization.zero_points else 0
    distinct = per_channel = len(np.unique(values))
    axis = quantization.dimension if quantization and quantization.is_per_axis else _channels(op)
    if axis is not None:
        per_channel = max(len(np.unique(channel)) for channel in np.moveaxis(values, axis, 0))
    zeros = float((values == zero).mean())
    return Weights(op, tensor.name, tensor.dtype, tensor.shape, zeros, distinct, per_channel)
