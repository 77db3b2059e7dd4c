"""Read the bytes of a .tflite file into a Graph. Constants are views of the bytes, so no weights are copied."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from mmap import mmap
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from tflq.errors import EvaluationError
from tflq.flatbuffer.graph import (
    ABSENT,
    BlockScales,
    Graph,
    Metadata,
    Operator,
    Quantization,
    Signature,
    Subgraph,
    Tensor,
)
from tflq.flatbuffer.roles import ROLES
from tflq.special_files import refuse_special

_DTYPES: dict[int, str] = {
    code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)
}
_OPERATORS: dict[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}
_FUNCTIONS: dict[int, str] = {
    code: name for name, code in vars(schema.ActivationFunctionType).items() if isinstance(code, int)
}
_WITH_FUNCTION = {
    "ADD": schema.AddOptions,
    "SUB": schema.SubOptions,
    "MUL": schema.MulOptions,
    "DIV": schema.DivOptions,
    "CONV_2D": schema.Conv2DOptions,
    "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptions,
    "TRANSPOSE_CONV": schema.TransposeConvOptions,
    "CONV_3D": schema.Conv3DOptions,
    "CONV_3D_TRANSPOSE": schema.Conv3DOptions,
    "FULLY_CONNECTED": schema.FullyConnectedOptions,
    "CONCATENATION": schema.ConcatenationOptions,
    "L2_NORMALIZATION": schema.L2NormOptions,
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), schema.Pool2DOptions),
}
_OPTIONS = {
    **_WITH_FUNCTION,
    "LEAKY_RELU": schema.LeakyReluOptions,
    "VAR_HANDLE": schema.VarHandleOptions,
    "WHILE": schema.WhileOptions,
}
DECODING_ERRORS = (IndexError, OverflowError, TypeError, ValueError, struct.error)
"""The errors that flatbuffer accessors raise if an offset or a count points outside the file."""
FileContent = bytes | bytearray | mmap
"""The content of a .tflite file."""
_T = TypeVar("_T")
_Buffers = tuple[npt.NDArray[np.uint8], ...]


def load(path: Path) -> Graph:
    """Return the graph of the file. EvaluationError, with the path, if it is not a complete .tflite file."""
    content = file_bytes(path)
    try:
        return read(content)
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error


def file_bytes(path: Path) -> bytes:
    """Return the content of the file. EvaluationError, with the path, if it cannot be read."""
    try:
        refuse_special(path)
        return path.read_bytes()
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}") from error


def read(data: FileContent) -> Graph:
    """Return the graph of the bytes of a .tflite file. EvaluationError if they are not a complete .tflite file."""
    if data[4:8] != b"TFL3":
        raise EvaluationError("not a .tflite file: the identifier TFL3 is missing at its start")
    try:
        return _graph(data)
    except DECODING_ERRORS as error:
        raise EvaluationError(
            "not a complete .tflite file: it is damaged or was cut short. Convert or copy it again"
        ) from error


def op_types(data: bytes) -> frozenset[str]:
    """Return the types of the ops in the bytes of a valid .tflite file. Nothing else of the file is read."""
    model = schema.Model.GetRootAs(data)
    return frozenset(_type(code)[0] for code in _each(model.OperatorCodesLength(), model.OperatorCodes))


def _graph(data: FileContent) -> Graph:
    model = schema.Model.GetRootAs(data)
    packed = _each(model.BuffersLength(), model.Buffers)
    buffers = tuple(_stored(buffer, data) for buffer in packed)
    codes = _each(model.OperatorCodesLength(), model.OperatorCodes)
    subgraphs = tuple(
        _subgraph(index, packed, codes, buffers)
        for index, packed in enumerate(_each(model.SubgraphsLength(), model.Subgraphs))
    )
    signatures = _each(model.SignatureDefsLength(), model.SignatureDefs)
    return Graph(
        subgraphs=subgraphs,
        signatures=tuple(_signature(entry, subgraphs) for entry in signatures),
        metadata=tuple(_metadata(entry, buffers) for entry in _each(model.MetadataLength(), model.Metadata)),
        size_bytes=len(data),
        version=model.Version(),
        description=_text(model.Description()),
        outside_buffers=frozenset(index for index, buffer in enumerate(packed) if buffer.Offset() > 1),
    )


def _each(count: int, get: Callable[[int], _T]) -> tuple[_T, ...]:
    return tuple(get(index) for index in range(count))


def _stored(buffer: Any, data: FileContent) -> npt.NDArray[np.uint8]:
    if buffer.Offset() > 1:  # in a file that is too large for a flatbuffer, the buffers follow the flatbuffer
        return np.frombuffer(data, np.uint8, buffer.Size(), buffer.Offset())
    return np.frombuffer(b"", np.uint8) if buffer.DataIsNone() else buffer.DataAsNumpy()


def _tensor(index: int, packed: Any, buffers: _Buffers) -> Tensor:
    stored = buffers[packed.Buffer()]
    tensor = Tensor(
        index=index,
        name=_text(packed.Name()),
        dtype=_dtype(packed.Type()),
        shape=_numbers(packed.ShapeAsNumpy()),
        shape_signature=_numbers(packed.ShapeSignatureAsNumpy()) or _numbers(packed.ShapeAsNumpy()),
        buffer=packed.Buffer(),
        quantization=_quantization(packed.Quantization()),
        is_variable=packed.IsVariable(),
        is_sparse=packed.Sparsity() is not None,
        has_rank=packed.HasRank() or packed.ShapeLength() > 0,
        stored=stored if stored.size else None,
    )
    if tensor.is_constant and stored.size < tensor.needed_bytes:
        raise EvaluationError(
            f"no runtime can load this file: the constant {tensor.name!r} of shape {list(tensor.shape)} and dtype"
            f" {tensor.dtype} needs {tensor.needed_bytes} bytes, but the file holds {stored.size}. Convert it again"
        )
    return tensor


def _dtype(code: int) -> str:
    if code not in _DTYPES:
        raise EvaluationError(f"a tensor has the unknown dtype {code}: the file is damaged, or needs a newer LiteRT")
    return _DTYPES[code]


def _quantization(packed: Any) -> Quantization | None:
    if packed is None or not (packed.ScaleLength() or packed.DetailsType()):
        return None  # calibration leaves a range without a scale, which is no quantization
    return Quantization(
        scales=_numbers(packed.ScaleAsNumpy()),
        zero_points=_numbers(packed.ZeroPointAsNumpy()),
        dimension=packed.QuantizedDimension(),
    )


def _with_blocks(tensor: Tensor, packed: Any, tensors: tuple[Tensor, ...]) -> Tensor:
    """Return the tensor with the scales of its blocks, if it has blocks and another tensor fits as their scales."""
    quantization, details = tensor.quantization, packed.Quantization()
    if quantization is None or details.DetailsType() != schema.QuantizationDetails.BlockwiseQuantization:
        return tensor
    blockwise = schema.BlockwiseQuantization()
    blockwise.Init(details.Details().Bytes, details.Details().Pos)
    size, index = blockwise.BlockSize(), blockwise.Scales()
    *rows, last = tensor.shape or (0,)
    scales = tensors[index].data if 0 <= index < len(tensors) and tensors[index].dtype == "float16" else None
    if size <= 0 or last % size or scales is None or scales.shape != (*rows, last // size):
        return tensor
    return replace(tensor, quantization=replace(quantization, blocks=BlockScales(size, index, scales)))


def _subgraph(index: int, packed: Any, codes: tuple[Any, ...], buffers: _Buffers) -> Subgraph:
    tensors = _each(packed.TensorsLength(), packed.Tensors)
    operators = _each(packed.OperatorsLength(), packed.Operators)
    read_tensors = tuple(_tensor(number, tensor, buffers) for number, tensor in enumerate(tensors))
    subgraph = Subgraph(
        index=index,
        name=_text(packed.Name()),
        tensors=tuple(_with_blocks(*pair, read_tensors) for pair in zip(read_tensors, tensors, strict=True)),
        operators=tuple(
            _operator(number, operator, codes[operator.OpcodeIndex()], len(tensors))
            for number, operator in enumerate(operators)
        ),
        inputs=_indices(packed.InputsAsNumpy(), len(tensors)),
        outputs=_indices(packed.OutputsAsNumpy(), len(tensors)),
    )
    _check_weights(subgraph)
    return subgraph


def _check_weights(subgraph: Subgraph) -> None:
    """Raise IndexError if weights lack the dimension of output channels, which no runtime accepts."""
    for operator in subgraph.operators:
        roles = ROLES.get(operator.type)
        weights = subgraph.input(operator, roles.weights) if roles else None
        if roles and weights and 0 < len(weights.shape) <= roles.channels:
            raise IndexError(f"the weights {weights.name!r} have no dimension {roles.channels}")


def _operator(index: int, packed: Any, code: Any, tensors: int) -> Operator:
    type_, is_custom = _type(code)
    options = _options(packed, type_)
    return Operator(
        index=index,
        type=type_,
        version=code.Version(),
        inputs=_indices(packed.InputsAsNumpy(), tensors, lowest=ABSENT),
        outputs=_indices(packed.OutputsAsNumpy(), tensors, lowest=ABSENT),
        is_custom=is_custom,
        intermediates=_indices(packed.IntermediatesAsNumpy(), tensors, lowest=ABSENT),
        fused=_function(options.FusedActivationFunction()) if type_ in _WITH_FUNCTION and options else "NONE",
        slope=options.Alpha() if type_ == "LEAKY_RELU" and options else 0.0,
        variable=_text(options.SharedName()) if type_ == "VAR_HANDLE" and options else "",
        called=(options.CondSubgraphIndex(), options.BodySubgraphIndex()) if type_ == "WHILE" and options else (),
    )


def _function(code: int) -> str:
    return _FUNCTIONS.get(code, f"activation function {code}")  # an unknown code comes from a newer LiteRT


def _options(packed: Any, type_: str) -> Any:
    """Return the options of an op, or None if they are not given or not needed."""
    table = packed.BuiltinOptions()
    if table is None or type_ not in _OPTIONS:
        return None
    options = _OPTIONS[type_]()
    options.Init(table.Bytes, table.Pos)
    return options


def _type(code: Any) -> tuple[str, bool]:
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # the old field ends at 127
    if number not in _OPERATORS:
        raise EvaluationError(
            f"an operator has the unknown code {number}: the file is damaged, or needs a newer LiteRT"
        )
    is_custom = number == schema.BuiltinOperator.CUSTOM
    return (_text(code.CustomCode()) if is_custom else _OPERATORS[number]), is_custom


def _signature(packed: Any, subgraphs: tuple[Subgraph, ...]) -> Signature:
    subgraph = subgraphs[packed.SubgraphIndex()]
    return Signature(
        key=_text(packed.SignatureKey()),
        subgraph=subgraph.index,
        inputs=_named(_each(packed.InputsLength(), packed.Inputs), subgraph),
        outputs=_named(_each(packed.OutputsLength(), packed.Outputs), subgraph),
    )


def _named(entries: tuple[Any, ...], subgraph: Subgraph) -> tuple[tuple[str, int], ...]:
    return tuple((_text(entry.Name()), subgraph.tensors[entry.TensorIndex()].index) for entry in entries)


def _metadata(packed: Any, buffers: _Buffers) -> Metadata:
    return Metadata(_text(packed.Name()), buffers[packed.Buffer()].tobytes())


def _text(string: bytes | None) -> str:
    return (string or b"").decode("utf-8", "replace")


def _numbers(vector: Any) -> tuple[Any, ...]:
    return tuple(vector.tolist()) if isinstance(vector, np.ndarray) else ()  # the accessor returns 0 without a vector


def _indices(vector: Any, end: int, lowest: int = 0) -> tuple[int, ...]:
    indices = _numbers(vector)
    if any(not lowest <= index < end for index in indices):
        raise IndexError(f"there is no tensor {min(indices)} or {max(indices)}")
    return indices
