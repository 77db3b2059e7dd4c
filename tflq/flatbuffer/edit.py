"""A .tflite as an object to change, and back to bytes: the file format's own classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tflq.flatbuffer.roles import ROLES


def unpack(content: bytes) -> Any:
    """The file as a `ModelT`, whose constants are views of the bytes."""
    return flatbuffer_utils.read_model_from_bytearray(content)


def pack(model: Any) -> bytes:
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def write(model: Any, path: Path) -> None:
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def add_tensor(model: Any, name: str, shape: list[int], dtype: str = "FLOAT32") -> int:
    """The index of a new tensor of the first subgraph."""
    tensor = schema.TensorT(name=name.encode(), shape=shape, type=getattr(schema.TensorType, dtype), hasRank=True)
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def add_constant(model: Any, name: str, values: np.ndarray) -> int:
    """The index of a new int32 constant of the first subgraph."""
    index = add_tensor(model, name, list(values.shape), "INT32")
    model.buffers.append(schema.BufferT(data=np.frombuffer(values.astype("<i4").tobytes(), np.uint8)))
    model.subgraphs[0].tensors[index].buffer = len(model.buffers) - 1
    return index


def reduction(model: Any, type_: str, inputs: list[int], output: int) -> Any:
    """A new operator, not yet in its place: the tensor of the first input reduced over the axes of the second."""
    options = schema.ReducerOptionsT(keepDims=False)
    return schema.OperatorT(
        opcodeIndex=_code(model, getattr(schema.BuiltinOperator, type_)),
        inputs=inputs,
        outputs=[output],
        builtinOptionsType=schema.BuiltinOptions.ReducerOptions,
        builtinOptions=options,
    )


def _code(model: Any, builtin: int) -> int:
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    if builtin not in codes:
        code = schema.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=min(builtin, 127), version=1)
        model.operatorCodes.append(code)
        codes.append(builtin)
    return codes.index(builtin)


def place_behind(model: Any, added: Mapping[int, Sequence[Any]]) -> None:
    """Put new operators of the first subgraph right behind the operator that makes the tensor they are filed under."""
    (subgraph, *_) = model.subgraphs
    placed = [operator for index in subgraph.inputs for operator in added.get(index, ())]
    for operator in subgraph.operators:
        placed += [operator, *(new for index in operator.outputs for new in added.get(index, ()))]
    subgraph.operators = placed


def set_outputs(model: Any, outputs: Mapping[str, int]) -> None:
    """Let the only signature, and the first subgraph, have these outputs by name and no others."""
    (signature,) = model.signatureDefs
    signature.outputs = [schema.TensorMapT(name.encode(), index) for name, index in outputs.items()]
    model.subgraphs[0].outputs = list(dict.fromkeys(outputs.values()))


def set_range(model: Any, tensor: tuple[int, int], minimum: float, maximum: float) -> None:
    """Write the range of the tensor, given as subgraph and index, to where quantizers look for it."""
    subgraph, index = tensor
    held = model.subgraphs[subgraph].tensors[index]
    held.quantization = held.quantization or schema.QuantizationParametersT()
    held.quantization.min, held.quantization.max = [minimum], [maximum]


def range_of(tensor: Any) -> tuple[float, float] | None:
    """The range that calibration has written into the tensor."""
    held = tensor.quantization
    if held is None or held.min is None or len(held.min) != 1:
        return None
    return float(held.min[0]), float(held.max[0])


def unshare(model: Any) -> None:
    """Give every tensor a buffer of its own, in order, as the converter does first, and every op a bias of its own.

    A quantizer that overwrites constants in place spoils what shares them. Biases of zeros may go on being shared.
    """
    _unshare_biases(model)
    held, model.buffers = model.buffers, [schema.BufferT()]
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors]
    for holder in [*tensors, *(model.metadata or [])]:
        model.buffers.append(schema.BufferT(data=held[holder.buffer].data))
        holder.buffer = len(model.buffers) - 1


def _unshare_biases(model: Any) -> None:
    positions = {getattr(schema.BuiltinOperator, name): roles.bias for name, roles in ROLES.items()}
    types = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    for subgraph in model.subgraphs:
        seen: set[int] = set()
        for operator in subgraph.operators:
            place = positions.get(types[operator.opcodeIndex], len(operator.inputs))
            bias = operator.inputs[place] if place < len(operator.inputs) else -1
            if bias in seen:
                subgraph.tensors.append(_copy(subgraph.tensors[bias]))
                operator.inputs[place] = len(subgraph.tensors) - 1
            elif bias >= 0 and np.any(model.buffers[subgraph.tensors[bias].buffer].data):
                seen.add(bias)


def _copy(tensor: Any) -> Any:
    return schema.TensorT(
        name=tensor.name,
        shape=tensor.shape,
        shapeSignature=tensor.shapeSignature,
        type=tensor.type,
        buffer=tensor.buffer,
        hasRank=tensor.hasRank,
    )
