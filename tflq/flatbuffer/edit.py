"""Edit a .tflite file as an object of the file format's own classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tflq.flatbuffer.packing import packed
from tflq.flatbuffer.roles import ROLES

_STORED_AS = {
    schema.TensorType.FLOAT32: "<f4",
    schema.TensorType.INT8: "<i1",
    schema.TensorType.INT16: "<i2",
    schema.TensorType.INT32: "<i4",
}


def unpack(content: bytes) -> Any:
    """Return the file as a `ModelT`. Its constants are views of the bytes. Each op has lists of inputs and outputs."""
    model = flatbuffer_utils.read_model_from_bytearray(content)
    for operator in (operator for subgraph in model.subgraphs for operator in subgraph.operators or ()):
        operator.inputs = [] if operator.inputs is None else operator.inputs  # VAR_HANDLE has none
        operator.outputs = [] if operator.outputs is None else operator.outputs  # nor ASSIGN_VARIABLE outputs
    return model


def pack(model: Any) -> bytes:
    return bytes(packed(model))


def write(model: Any, path: Path) -> None:
    path.write_bytes(packed(model))


def add_tensor(model: Any, name: str, shape: list[int], dtype: str = "FLOAT32", place: int = 0) -> int:
    """Add a tensor to the subgraph at that place, and return its index."""
    tensor = schema.TensorT(name=name.encode(), shape=shape, type=getattr(schema.TensorType, dtype), hasRank=True)
    model.subgraphs[place].tensors.append(tensor)
    return len(model.subgraphs[place].tensors) - 1


def add_constant(model: Any, name: str, values: np.ndarray, dtype: str = "INT32", place: int = 0) -> int:
    """Add an INT8, INT16, INT32 or FLOAT32 constant to the subgraph at that place, and return its index."""
    index = add_tensor(model, name, list(values.shape), dtype, place)
    stored = values.astype(_STORED_AS[getattr(schema.TensorType, dtype)])
    model.buffers.append(schema.BufferT(data=np.frombuffer(stored.tobytes(), np.uint8)))
    model.subgraphs[place].tensors[index].buffer = len(model.buffers) - 1
    return index


def set_constant(model: Any, place: tuple[int, int], values: np.ndarray) -> None:
    """Set the constant that an operator of the first subgraph reads: float32, int8 or int32.

    `place` is the index of the operator and the position of the input. If other operators read the same tensor, this
    operator gets a copy.
    """
    set_constants(model, [place], values)


def set_constants(model: Any, places: Sequence[tuple[int, int]], values: np.ndarray) -> None:
    """Set the float32 constant that is read at all these places. Readers at other places keep the old values."""
    subgraph, (operator, position) = model.subgraphs[0], places[0]
    index = subgraph.operators[operator].inputs[position]
    if sum(list(other.inputs).count(index) for other in subgraph.operators) > len(places):
        index = add_copy(subgraph, index)
        for operator, position in places:
            subgraph.operators[operator].inputs[position] = index
    tensor = subgraph.tensors[index]
    if sum(other.buffer == tensor.buffer for graph in model.subgraphs for other in graph.tensors) > 1:
        model.buffers.append(schema.BufferT())
        tensor.buffer = len(model.buffers) - 1
    model.buffers[tensor.buffer].data = np.frombuffer(values.astype(_STORED_AS[tensor.type]).tobytes(), np.uint8)


def new_operator(model: Any, type_: str, inputs: list[int], output: int, options: Any) -> Any:
    """Return a new operator. It is not inserted yet. `options` is an object of the schema, such as `PackOptionsT`."""
    kind = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    index = _code_of(model, type_, version=1)
    return schema.OperatorT(index, inputs=inputs, outputs=[output], builtinOptionsType=kind, builtinOptions=options)


def reduction(model: Any, type_: str, inputs: list[int], output: int) -> Any:
    """Return a new operator that reduces the first input over the axes in the second. It is not inserted yet."""
    return new_operator(model, type_, inputs, output, schema.ReducerOptionsT(keepDims=False))


def conversion(model: Any, type_: str, source: int, target: int, version: int = 2) -> Any:
    """Return a new QUANTIZE or DEQUANTIZE operator. It is not inserted yet."""
    return schema.OperatorT(_code_of(model, type_, version), inputs=[source], outputs=[target])


def _code_of(model: Any, type_: str, version: int) -> int:
    number = getattr(schema.BuiltinOperator, type_)
    return code_index(model, schema.OperatorCodeT(min(number, 127), version=version, builtinCode=number))


def _builtin(code: Any) -> int:
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))  # the old field ends at 127


def type_of(code: Any) -> str:
    """Return the name of the built-in operator, or CUSTOM."""
    return next(str(name) for name, number in vars(schema.BuiltinOperator).items() if number == _builtin(code))


def code_index(model: Any, code: Any) -> int:
    """Return the index of that operator code in the model. The code is added if the model does not have it."""
    key = (_builtin(code), code.customCode, code.version)
    keys = [(_builtin(other), other.customCode, other.version) for other in model.operatorCodes]
    if key not in keys:
        model.operatorCodes.append(code)
        keys.append(key)
    return keys.index(key)


def drop_unused_codes(model: Any) -> None:
    """Remove operator codes that no operator uses. Some runtimes refuse a file because of an unused version."""
    operators = [operator for subgraph in model.subgraphs for operator in subgraph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)


def place_behind(model: Any, added: Mapping[int, Sequence[Any]]) -> None:
    """Insert new operators into the first subgraph. `added` maps a tensor to the operators behind its writer."""
    (subgraph, *_) = model.subgraphs
    operators = [operator for index in subgraph.inputs for operator in added.get(index, ())]
    for operator in subgraph.operators:
        operators += [operator, *(new for index in operator.outputs for new in added.get(index, ()))]
    subgraph.operators = operators


def set_outputs(model: Any, outputs: Mapping[str, int]) -> None:
    """Replace the outputs of the only signature and of the first subgraph. `outputs` maps names to tensors."""
    (signature,) = model.signatureDefs
    signature.outputs = [schema.TensorMapT(name.encode(), index) for name, index in outputs.items()]
    model.subgraphs[0].outputs = list(dict.fromkeys(outputs.values()))


def drop_unneeded_operators(model: Any) -> None:
    """Remove the operators of the first subgraph that no output needs, and the contents of their constants.

    A model with an operator without outputs, such as ASSIGN_VARIABLE, is left as it is.
    """
    (subgraph, *_) = model.subgraphs
    if any(not len(operator.outputs) for operator in subgraph.operators):
        return
    needed, kept = {*subgraph.outputs}, []
    for operator in reversed(subgraph.operators):
        if needed & {*operator.outputs}:
            needed |= {*operator.inputs}
            kept.append(operator)
    subgraph.operators = kept[::-1]
    if len(model.subgraphs) == 1:
        used = {tensor.buffer for index, tensor in enumerate(subgraph.tensors) if index in needed}
        for number in {tensor.buffer for tensor in subgraph.tensors} - used:
            model.buffers[number].data = None


def set_range(model: Any, tensor: tuple[int, int], minimum: float, maximum: float) -> None:
    """Write the range into the tensor, where quantizers read it. `tensor` is the subgraph and the index."""
    subgraph, index = tensor
    target = model.subgraphs[subgraph].tensors[index]
    target.quantization = target.quantization or schema.QuantizationParametersT()
    target.quantization.min, target.quantization.max = [minimum], [maximum]


def range_of(tensor: Any) -> tuple[float, float] | None:
    """Return the range that calibration wrote into the tensor, or None."""
    quantization = tensor.quantization
    if quantization is None or quantization.min is None or len(quantization.min) != 1:
        return None
    return float(quantization.min[0]), float(quantization.max[0])


def unshare(model: Any) -> None:
    """Give every tensor its own buffer, in order, as the converter does first, and give every op its own bias.

    A quantizer that overwrites a shared constant in place would corrupt it for its other readers. Biases of zeros may
    stay shared.
    """
    _unshare_biases(model)
    shared, model.buffers = model.buffers, [schema.BufferT()]
    tensors = [tensor for subgraph in model.subgraphs for tensor in subgraph.tensors]
    for holder in [*tensors, *(model.metadata or [])]:
        model.buffers.append(schema.BufferT(data=shared[holder.buffer].data))
        holder.buffer = len(model.buffers) - 1


def _unshare_biases(model: Any) -> None:
    positions = {getattr(schema.BuiltinOperator, name): roles.bias for name, roles in ROLES.items()}
    types = [_builtin(code) for code in model.operatorCodes]
    for subgraph in model.subgraphs:
        biases: set[int] = set()
        for operator in subgraph.operators:
            place = positions.get(types[operator.opcodeIndex], len(operator.inputs))
            bias = operator.inputs[place] if place < len(operator.inputs) else -1
            if bias in biases:
                operator.inputs[place] = add_copy(subgraph, bias)
            elif bias >= 0 and np.any(model.buffers[subgraph.tensors[bias].buffer].data):
                biases.add(bias)


def add_copy(subgraph: Any, index: int) -> int:
    """Add a copy of the tensor that shares its buffer, and return the index of the copy."""
    subgraph.tensors.append(_copy(subgraph.tensors[index]))
    return len(subgraph.tensors) - 1


def add_variable(subgraph: Any, index: int) -> int:
    """Add a variable tensor like that one, which keeps its values between calls, and return its index."""
    variable = add_copy(subgraph, index)
    subgraph.tensors[variable].isVariable, subgraph.tensors[variable].buffer = True, 0
    return variable


def _copy(tensor: Any) -> Any:
    return schema.TensorT(
        name=tensor.name,
        shape=tensor.shape,
        shapeSignature=tensor.shapeSignature,
        type=tensor.type,
        buffer=tensor.buffer,
        hasRank=tensor.hasRank,
    )


def copy_constant(model: Any, source: Any, index: int) -> int:
    """Copy a constant of the first subgraph of another model into this one, and return its new index."""
    (subgraph, *_), tensor = model.subgraphs, _copy(source.subgraphs[0].tensors[index])
    model.buffers.append(schema.BufferT(data=source.buffers[tensor.buffer].data))
    tensor.buffer = len(model.buffers) - 1
    subgraph.tensors.append(tensor)
    return len(subgraph.tensors) - 1


def drop_unused(model: Any) -> None:
    """Remove unused parts of all subgraphs: dequantized weights, tensors, their buffers, and operator codes."""
    types = [type_of(code) for code in model.operatorCodes]
    for place, subgraph in enumerate(model.subgraphs):
        read = {*subgraph.outputs, *(index for operator in subgraph.operators for index in operator.inputs)}
        subgraph.operators = [
            operator
            for operator in subgraph.operators
            if types[operator.opcodeIndex] != "DEQUANTIZE" or read & {*operator.outputs}
        ]
        _keep_tensors(model, place, {*subgraph.inputs, *subgraph.outputs, *_used(subgraph)})
    drop_unused_buffers(model)
    drop_unused_codes(model)


def _used(subgraph: Any) -> Iterator[int]:
    for operator in subgraph.operators:
        for indices in (operator.inputs, operator.outputs, operator.intermediates):
            yield from (index for index in (() if indices is None else indices) if index >= 0)
    scales = (int(blockwise.scales) for blockwise in _blockwise(subgraph))
    yield from (index for index in scales if 0 <= index < len(subgraph.tensors))


def _blockwise(subgraph: Any) -> list[Any]:
    """Return the details of blockwise quantization of all tensors, which hold the indices of tensors with scales."""
    details = [tensor.quantization.details for tensor in subgraph.tensors if tensor.quantization is not None]
    return [each for each in details if isinstance(each, schema.BlockwiseQuantizationT)]


def _keep_tensors(model: Any, place: int, indices: set[int]) -> None:
    """Keep only these tensors of the subgraph at that place."""
    subgraph = model.subgraphs[place]
    new_indices = {-1: -1, **{old: new for new, old in enumerate(sorted(indices))}}
    subgraph.tensors = [subgraph.tensors[old] for old in sorted(indices)]
    for blockwise in _blockwise(subgraph):
        blockwise.scales = new_indices.get(int(blockwise.scales), -1)
    for holder in (subgraph, *subgraph.operators):
        for field in ("inputs", "outputs", "intermediates"):
            if getattr(holder, field, None) is not None:
                setattr(holder, field, [new_indices[index] for index in getattr(holder, field)])
    for signature in model.signatureDefs or []:
        for entry in [*signature.inputs, *signature.outputs] if signature.subgraphIndex == place else ():
            entry.tensorIndex = new_indices[entry.tensorIndex]


def drop_unused_buffers(model: Any) -> None:
    """Keep only the buffers of tensors and metadata."""
    holders = [*(model.metadata or []), *(tensor for graph in model.subgraphs for tensor in graph.tensors)]
    used = sorted({0, *(holder.buffer for holder in holders)})
    model.buffers = [model.buffers[index] for index in used]
    for holder in holders:
        holder.buffer = used.index(holder.buffer)


def is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
