"""Integer weights in a float32 file, for modes weights8 and dynamic4.

int8 weights have a DEQUANTIZE op behind them, so that every op computes in float. Mode dynamic4 has int4 weights, too.

The runtime dequantizes a constant once, before the first call. The rows of a table that only GATHER reads are
dequantized behind the GATHER, so that the table stays small in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from tflq.conversion.dynamic_range import MIN_ELEMENTS, dequantized_output, store_int8
from tflq.conversion.int4_blocks import store_blocks
from tflq.flatbuffer import WEIGHT_POSITIONS, constants, edit, read
from tflq.flatbuffer.metadata import raise_runtime_version
from tflq.flatbuffer.roles import ROLES
from tflq.modes import Dynamic4, Mode
from tflq.op_selectors import select

PER_CHANNEL, PER_TENSOR = (5, "2.7.0"), (2, "1.14.0")
"""The version of DEQUANTIZE with int8 inputs, and the first runtime that has it."""
ROWS = (2, "1.14.0")
"""The version of GATHER with int8 rows, and the first runtime that has it."""


def with_integer_weights(content: bytes, variant: Mode) -> tuple[bytes, tuple[int, ...]]:
    """Return the file of a weight-only mode, made from a float32 file, and its ops that keep_float names, as indices.

    ConversionError, with cause and remedy, if the mode does not suit the model.
    """
    model, graph = edit.unpack(content), read(content)
    selected = select(graph, variant.keep_float)
    kept = [model.subgraphs[0].operators[index] for index in selected]
    if isinstance(variant, Dynamic4):
        store_blocks(model, graph, selected)
    for subgraph in model.subgraphs:
        _quantize(model, subgraph, variant, kept)
    constants.share_buffers(model)
    places = {id(operator) for operator in kept}
    indices = (index for index, operator in enumerate(model.subgraphs[0].operators) if id(operator) in places)
    return edit.pack(model), tuple(indices)


def _quantize(model: Any, subgraph: Any, variant: Mode, kept: Collection[Any]) -> None:
    """Store the weights of the subgraph as int8, apart from those of kept ops, which get a copy in float."""
    types = [edit.type_of(code) for code in model.operatorCodes]
    readers = [(operator, types[operator.opcodeIndex]) for operator in subgraph.operators]
    schemes: dict[int, int | None] = {}
    for operator, type_ in readers:
        if not any(operator is other for other in kept):
            for index in _weights(model, subgraph, operator, type_):
                channels = _channels(subgraph, (operator, type_), index, variant)
                schemes[index] = channels if schemes.get(index) is None else schemes[index]
    for operator in kept:
        if any(operator is other for other, _ in readers):
            _keep(subgraph, operator, schemes)
    conversions: list[Any] = []
    behind: dict[int, Any] = {}
    for index, channels in schemes.items():
        if _is_table(subgraph, readers, index):
            store_int8(model, subgraph.tensors[index], None)
            behind |= {id(op): _dequantized_rows(model, subgraph, op) for op, _ in readers if op.inputs[0] == index}
        else:
            conversions.append(_dequantized(model, subgraph, index, channels))
    computing = (op for operator, _ in readers for op in (operator, behind.get(id(operator))) if op is not None)
    subgraph.operators = [*conversions, *computing]


def _weights(model: Any, subgraph: Any, operator: Any, type_: str) -> Iterator[int]:
    """Yield the indices of the op's float32 weights that are large enough and finite."""
    for position in WEIGHT_POSITIONS.get(type_, ()):
        index = int(operator.inputs[position]) if position < len(operator.inputs) else -1
        is_dense = index >= 0 and subgraph.tensors[index].sparsity is None
        if is_dense and constants.is_float32_constant(model, subgraph.tensors[index]):
            values = constants.float32_values(model, subgraph.tensors[index])
            if values.size >= MIN_ELEMENTS and np.isfinite(values).all():
                yield index


def _channels(subgraph: Any, reader: tuple[Any, str], index: int, variant: Mode) -> int | None:
    """Return the dimension of the weights with one scale for each output channel; None for one scale in all."""
    operator, type_ = reader
    if not variant.per_channel or (type_ == "FULLY_CONNECTED" and not variant.per_channel_dense) or type_ == "GATHER":
        return None
    if type_ == "BATCH_MATMUL":
        return len(subgraph.tensors[index].shape) - (2 if operator.builtinOptions.adjY else 1)
    return ROLES[type_].channels if type_ in ROLES else 0


def _keep(subgraph: Any, operator: Any, quantized: Collection[int]) -> None:
    """Let the op read copies in float of those constants."""
    operator.inputs = [
        edit.add_copy(subgraph, int(index)) if int(index) in quantized else int(index) for index in operator.inputs
    ]


def _is_table(subgraph: Any, readers: list[tuple[Any, str]], index: int) -> bool:
    """Whether GATHER ops alone read the constant."""
    types = {type_ for operator, type_ in readers if index in [int(place) for place in operator.inputs]}
    return types == {"GATHER"} and index not in [int(place) for place in subgraph.outputs]


def _dequantized(model: Any, subgraph: Any, index: int, channels: int | None) -> Any:
    """Store the constant as int8, and return a new op that converts it to the tensor of before."""
    source = edit.add_copy(subgraph, index)
    store_int8(model, subgraph.tensors[source], channels)
    subgraph.tensors[source].name = (subgraph.tensors[index].name or b"") + b"_int8"
    subgraph.tensors[index].buffer = 0
    has_channels = len(subgraph.tensors[source].quantization.scale) > 1
    version, runtime = PER_CHANNEL if has_channels else PER_TENSOR
    raise_runtime_version(model, runtime)
    return edit.conversion(model, "DEQUANTIZE", source, index, version)


def _dequantized_rows(model: Any, subgraph: Any, operator: Any) -> Any:
    version, runtime = ROWS
    code = model.operatorCodes[operator.opcodeIndex]
    code.version = max(code.version, version)
    raise_runtime_version(model, runtime)
    return dequantized_output(model, subgraph, operator)
