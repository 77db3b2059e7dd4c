"""The contents of a .tflite file as frozen values: subgraphs of operators and tensors, signatures, metadata."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

ABSENT = -1
"""The index in `Operator.inputs` of an optional input that is not given. The other inputs keep their positions."""
FLOAT_DTYPES = frozenset({"float16", "float32", "float64", "bfloat16"})
PACKED_BITS = {"int4": 4, "uint4": 4, "int2": 2}
NUMPY_DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128"),
    )
}


@dataclass(frozen=True)
class BlockScales:
    """The scales of blockwise quantization, which another tensor of the file holds."""

    size: int
    """The number of values along the last dimension that share a scale."""
    tensor: int
    """The index of the tensor with the scales."""
    scales: npt.NDArray[Any] = field(repr=False, compare=False)
    """The stored scales, float16 [rows, blocks of a row]"""


@dataclass(frozen=True)
class Quantization:
    """The quantization of a tensor: real = (q - zero_point) * scale.

    There is one scale for the whole tensor, or one for each index of `dimension`. `scales` is empty if another tensor
    holds the scales, as in blockwise quantization. Then `blocks` has them, if that tensor fits.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    dimension: int = 0
    blocks: BlockScales | None = None

    @property
    def is_per_axis(self) -> bool:
        return len(self.scales) > 1

    @property
    def first_zero_point(self) -> int:
        """The zero point of the whole tensor. LiteRT takes 0 if the file has none."""
        return next(iter(self.zero_points), 0)


@dataclass(frozen=True)
class Tensor:
    """An edge of the graph. For an open dimension, `shape_signature` has -1, and `shape` has 1."""

    index: int
    name: str
    dtype: str
    """TensorFlow's name of the dtype: float32, int8, int4, string, ..."""
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    buffer: int
    """The index of the buffer. Tensors with one buffer share one place in the file."""
    quantization: Quantization | None = None
    is_variable: bool = False
    is_sparse: bool = False
    has_rank: bool = True
    """Whether the number of dimensions is known. If it is not, `shape` means nothing."""
    stored: npt.NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    """The bytes of a constant, as a view of the file."""

    @property
    def is_constant(self) -> bool:
        return self.stored is not None

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOAT_DTYPES

    @property
    def size_bytes(self) -> int:
        """The size of a constant in the file. It is 0 for any other tensor."""
        return 0 if self.stored is None else self.stored.size

    @property
    def needed_bytes(self) -> int:
        """The size that the shape and the dtype need. The buffer is larger if it is shared with a larger constant."""
        bits = PACKED_BITS.get(self.dtype) or 8 * NUMPY_DTYPES.get(self.dtype, np.dtype("V0")).itemsize
        return 0 if self.is_sparse else -(-math.prod(self.shape) * bits // 8)

    @property
    def data(self) -> npt.NDArray[Any] | None:
        """The values of a constant in its shape, as a read-only view. They are None for any other tensor.

        int4 and int2 are unpacked to one byte an element. If the tensor is sparse, or if NumPy does not have the dtype
        (string, bfloat16), the values are the stored bytes.
        """
        if self.stored is None or not self.needed_bytes:
            return self.stored
        if self.dtype in PACKED_BITS:
            return _unpacked(self.stored, self.dtype, math.prod(self.shape)).reshape(self.shape)
        return self.stored[: self.needed_bytes].view(NUMPY_DTYPES[self.dtype]).reshape(self.shape)


def _unpacked(stored: npt.NDArray[np.uint8], dtype: str, count: int) -> npt.NDArray[Any]:
    """Return one element a byte. In the file, a byte has several elements, the first in the lowest bits."""
    bits = PACKED_BITS[dtype]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = (stored[:, np.newaxis] >> shifts).ravel()[:count] & np.uint8(2**bits - 1)
    if dtype.startswith("u"):
        return values
    sign = np.int8(2 ** (bits - 1))
    return (values.view(np.int8) ^ sign) - sign


@dataclass(frozen=True)
class Operator:
    """A node of the graph. `type` is the name of a built-in operator or of a custom operator, such as FlexLog."""

    index: int
    type: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    is_custom: bool = False
    intermediates: tuple[int, ...] = ()
    fused: str = "NONE"
    """The fused activation function, such as RELU6. It is not read for recurrent ops."""
    slope: float = 0.0
    """The factor for negative values of LEAKY_RELU."""
    variable: str = ""
    """The variable's name of VAR_HANDLE. A name is valid in all subgraphs."""
    called: tuple[int, ...] = ()
    """The condition and the body that WHILE runs, as indices of subgraphs."""


@dataclass(frozen=True)
class Subgraph:
    index: int
    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def input(self, operator: Operator, position: int) -> Tensor | None:
        """Return the tensor that the operator reads at that position, or None if that input is not given."""
        index = operator.inputs[position] if position < len(operator.inputs) else ABSENT
        return None if index == ABSENT else self.tensors[index]

    def read_by(self, operator: Operator) -> tuple[Tensor, ...]:
        return tuple(self.tensors[index] for index in operator.inputs if index != ABSENT)

    def written_by(self, operator: Operator) -> tuple[Tensor, ...]:
        return tuple(self.tensors[index] for index in operator.outputs if index != ABSENT)

    def name_of(self, operator: Operator) -> str:
        """Return the name of the first tensor that the operator writes, or else reads, or its number."""
        tensors = self.written_by(operator) or self.read_by(operator)
        return tensors[0].name if tensors else f"op {operator.index}"


@dataclass(frozen=True)
class Signature:
    """A named way to call a subgraph. Inputs and outputs are pairs of a name and a tensor index."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Metadata:
    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Graph:
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: tuple[Metadata, ...]
    size_bytes: int
    version: int
    description: str
    outside_buffers: frozenset[int] = frozenset()
    """The indices of the buffers that follow the flatbuffer. Few runtimes read them."""

    @property
    def minimum_runtime_version(self) -> str | None:
        """The oldest TensorFlow Lite that has every operator at its version. None if the file does not say."""
        versions = [entry.data for entry in self.metadata if entry.name == "min_runtime_version"]
        return versions[0].rstrip(b"\0").decode("ascii", "replace") or None if versions else None

    def operators(self) -> Iterator[tuple[Subgraph, Operator]]:
        """Yield every operator of every subgraph, with its subgraph."""
        for subgraph in self.subgraphs:
            for operator in subgraph.operators:
                yield subgraph, operator
