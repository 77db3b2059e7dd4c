"""Constants that are stored sparsely: the values that are not zero, and where they are.

The format is that of TensorFlow Lite: each level of the traversal is a dense dimension, or a compressed one with
segments and indices, as in Kjolstad et al. 2017 (The Tensor Algebra Compiler). An op DENSIFY makes the dense tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import edit
from tflq.flatbuffer.graph import NUMPY_DTYPES
from tflq.flatbuffer.mapped import mapped_content
from tflq.flatbuffer.reader import DECODING_ERRORS, FileContent

_DTYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}


@dataclass(frozen=True)
class SparseWeights:
    """A constant that is stored sparsely, with the op that reads it."""

    op: str
    tensor: str
    dtype: str
    shape: tuple[int, ...]
    zeros: float
    """The share of values that are 0, from 0 to 1."""
    size_bytes: int
    """The bytes of its values and indices in the file."""
    saved_bytes: int
    """The bytes that the dense constant would take, minus `size_bytes`."""


def has_sparse_constants(content: FileContent) -> bool:
    """Return whether the file has an op DENSIFY, which reads a sparse constant; False for a damaged file."""
    if content[4:8] != b"TFL3":
        return False
    try:
        model = schema.Model.GetRootAs(content)
        codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
        return any(code.BuiltinCode() == schema.BuiltinOperator.DENSIFY for code in codes)
    except DECODING_ERRORS:
        return False


def has_sparse_integers(path: Path) -> bool:
    """Return whether the file has sparse int8 constants, which LiteRT's default delegate cannot prepare."""
    if not path.is_file() or not path.stat().st_size:
        return False
    content = mapped_content(path)
    if not has_sparse_constants(content):
        return False
    tensors = (tensor for subgraph in edit.unpack(bytes(content)).subgraphs for tensor in subgraph.tensors)
    return any(tensor.sparsity is not None and tensor.type == schema.TensorType.INT8 for tensor in tensors)


def densified(content: bytes) -> bytes:
    """Return the file with dense constants in place of sparse ones, and without DENSIFY ops."""
    if not has_sparse_constants(content):
        return content
    model = edit.unpack(content)
    for subgraph in model.subgraphs:
        kept = []
        for operator in subgraph.operators:
            if edit.type_of(model.operatorCodes[operator.opcodeIndex]) != "DENSIFY":
                kept.append(operator)
                continue
            values = _dense(model, subgraph.tensors[operator.inputs[0]])
            model.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
            subgraph.tensors[operator.outputs[0]].buffer = len(model.buffers) - 1
        subgraph.operators = kept
    edit.drop_unused(model)
    return edit.pack(model)


def sparse_weights(content: bytes) -> Iterator[SparseWeights]:
    """Yield each constant that is stored sparsely, in the order of the graph."""
    model = edit.unpack(content) if has_sparse_constants(content) else None
    types = [edit.type_of(code) for code in model.operatorCodes] if model else []
    for subgraph in model.subgraphs if model else ():
        readers = {int(i): types[op.opcodeIndex] for op in reversed(subgraph.operators) for i in op.inputs}
        for operator in subgraph.operators:
            if types[operator.opcodeIndex] == "DENSIFY":
                tensor, output = subgraph.tensors[operator.inputs[0]], int(operator.outputs[0])
                name = (subgraph.tensors[output].name or b"").decode()
                yield _described(model, tensor, readers.get(output, "DENSIFY"), name)


def _described(model: Any, tensor: Any, op: str, name: str) -> SparseWeights:
    values, stored = _dense(model, tensor), len(model.buffers[tensor.buffer].data)
    for level in tensor.sparsity.dimMetadata:
        for vector in (level.arraySegments, level.arrayIndices):
            stored += _width(vector) * len(vector.values) if vector is not None else 0
    zeros = float((values == 0).mean())
    return SparseWeights(op, name, _DTYPES[tensor.type], tuple(values.shape), zeros, stored, values.nbytes - stored)


def _width(vector: Any) -> int:
    return {"Uint8VectorT": 1, "Uint16VectorT": 2}.get(type(vector).__name__, 4)


def _dense(model: Any, tensor: Any) -> np.ndarray:
    """Return the dense values of a sparse constant."""
    sparsity, shape = tensor.sparsity, [int(size) for size in tensor.shape]
    order = [int(dimension) for dimension in sparsity.traversalOrder]
    blocked = [] if sparsity.blockMap is None else [int(dimension) for dimension in sparsity.blockMap]
    places, coordinates = np.zeros(1, np.int64), dict[int, np.ndarray]()
    sizes: dict[int, int] = {}
    for dimension, level in zip(order, sparsity.dimMetadata, strict=True):
        if level.format == schema.DimensionType.DENSE:
            sizes[dimension] = int(level.denseSize)
            parents = np.repeat(np.arange(len(places)), level.denseSize)
            own = np.tile(np.arange(level.denseSize), len(places))
            places = places[parents] * level.denseSize + own
        else:
            segments = np.asarray(level.arraySegments.values, np.int64)
            counts = segments[places + 1] - segments[places]
            parents = np.repeat(np.arange(len(places)), counts)
            first = np.repeat(segments[places] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
            places = first + np.arange(len(parents))
            own = np.asarray(level.arrayIndices.values, np.int64)[places]
        coordinates = {key: values[parents] for key, values in coordinates.items()} | {dimension: own}
    index = [coordinates[dimension] for dimension in range(len(shape))]
    for number, dimension in enumerate(blocked):
        block = len(shape) + number
        index[dimension] = index[dimension] * sizes[block] + coordinates[block]
    dtype = NUMPY_DTYPES[_DTYPES[tensor.type]]
    dense = np.zeros(shape, dtype)
    stored = np.frombuffer(bytes(model.buffers[tensor.buffer].data), dtype)
    dense[tuple(index)] = stored[places]
    return dense
