"""A .tflite as an object to change, and back to bytes: the file format's own classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def set_constant(model: Any, place: tuple[int, int], values: np.ndarray) -> None:
    """Let an operator of the first subgraph read other float32 values, at `place`: its index, and the input's position.

    Where others read the same tensor, it gets one of its own.
    """
    subgraph, (operator, position) = model.subgraphs[0], place
    inputs = subgraph.operators[operator].inputs
    if sum(list(other.inputs).count(inputs[position]) for other in subgraph.operators) > 1:
        subgraph.tensors.append(_copy(subgraph.tensors[inputs[position]]))
        inputs[position] = len(subgraph.tensors) - 1
    tensor = subgraph.tensors[inputs[position]]
    if sum(other.buffer == tensor.buffer for some in model.subgraphs for other in some.tensors) > 1:
        model.buffers.append(schema.BufferT())
        tensor.buffer = len(model.buffers) - 1
    model.buffers[tensor.buffer].data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)


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


def conversion(model: Any, type_: str, source: int, target: int) -> Any:
    """A new QUANTIZE or DEQUANTIZE, not yet in its place."""
    number = getattr(schema.BuiltinOperator, type_)
    code = schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=number, version=2)
    return schema.OperatorT(opcodeIndex=code_index(model, code), inputs=[source], outputs=[target])


def _code(model: Any, builtin: int) -> int:
    codes = [_builtin(code) for code in model.operatorCodes]
    if builtin not in codes:
        code = schema.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=min(builtin, 127), version=1)
        model.operatorCodes.append(code)
        codes.append(builtin)
    return codes.index(builtin)


def _builtin(code: Any) -> int:
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))  # the old field ends at 127


def type_of(code: Any) -> str:
    """The name of an operator code's built-in operator; CUSTOM for any other."""
    return next(str(name) for name, number in vars(schema.BuiltinOperator).items() if number == _builtin(code))


def code_index(model: Any, code: Any) -> int:
    """The place of that operator code in the model, to which it is added where it has none."""
    wanted = (_builtin(code), code.customCode, code.version)
    known = [(_builtin(one), one.customCode, one.version) for one in model.operatorCodes]
    if wanted not in known:
        model.operatorCodes.append(code)
        known.append(wanted)
    return known.index(wanted)


def drop_unused_codes(model: Any) -> None:
    """Some runtimes refuse a file for the version of an op that it names and does not use."""
    operators = [operator for subgraph in model.subgraphs for operator in subgraph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)


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
    types = [_builtin(code) for code in model.operatorCodes]
    for subgraph in model.subgraphs:
        seen: set[int] = set()
        for operator in subgraph.operators:
            place = positions.get(types[operator.opcodeIndex], len(operator.inputs))
            bias = operator.inputs[place] if place < len(operator.inputs) else -1
            if bias in seen:
                operator.inputs[place] = add_copy(subgraph, bias)
            elif bias >= 0 and np.any(model.buffers[subgraph.tensors[bias].buffer].data):
                seen.add(bias)


def add_copy(subgraph: Any, index: int) -> int:
    """The index of a new tensor like that one, in the same place of the file."""
    subgraph.tensors.append(_copy(subgraph.tensors[index]))
    return len(subgraph.tensors) - 1


def add_variable(subgraph: Any, index: int) -> int:
    """The index of a new tensor like that one, which keeps its numbers from one call to the next."""
    place = add_copy(subgraph, index)
    subgraph.tensors[place].isVariable, subgraph.tensors[place].buffer = True, 0
    return place


def _copy(tensor: Any) -> Any:
    return schema.TensorT(
        name=tensor.name,
        shape=tensor.shape,
        shapeSignature=tensor.shapeSignature,
        type=tensor.type,
        buffer=tensor.buffer,
        hasRank=tensor.hasRank,
    )


def bring(model: Any, source: Any, index: int) -> int:
    """The index of a new constant of the first subgraph: that of another model."""
    (subgraph, *_), tensor = model.subgraphs, _copy(source.subgraphs[0].tensors[index])
    model.buffers.append(schema.BufferT(data=source.buffers[tensor.buffer].data))
    tensor.buffer = len(model.buffers) - 1
    subgraph.tensors.append(tensor)
    return len(subgraph.tensors) - 1


def drop_unused(model: Any) -> None:
    """Leave out of the first subgraph what nothing reads: unpacked weights, tensors, their contents, operator codes."""
    (subgraph, *_) = model.subgraphs
    read = {*subgraph.outputs, *(index for operator in subgraph.operators for index in operator.inputs)}
    types = [type_of(code) for code in model.operatorCodes]
    subgraph.operators = [
        operator
        for operator in subgraph.operators
        if types[operator.opcodeIndex] != "DEQUANTIZE" or read & {*operator.outputs}
    ]
    _keep_tensors(model, {*subgraph.inputs, *subgraph.outputs, *_used(subgraph)})
    drop_unused_codes(model)


def _used(subgraph: Any) -> Iterator[int]:
    for operator in subgraph.operators:
        for indices in (operator.inputs, operator.outputs, operator.intermediates):
            yield from (index for index in (() if indices is None else indices) if index >= 0)


def _keep_tensors(model: Any, kept: set[int]) -> None:
    """These tensors of the first subgraph and no others, and no contents but those of a tensor or of metadata."""
    (subgraph, *_) = model.subgraphs
    place = {-1: -1, **{old: new for new, old in enumerate(sorted(kept))}}
    subgraph.tensors = [subgraph.tensors[old] for old in sorted(kept)]
    for holder in (subgraph, *subgraph.operators):
        for field in ("inputs", "outputs", "intermediates"):
            if getattr(holder, field, None) is not None:
                setattr(holder, field, [place[index] for index in getattr(holder, field)])
    for signature in model.signatureDefs or []:
        for entry in [*signature.inputs, *signature.outputs] if signature.subgraphIndex == 0 else ():
            entry.tensorIndex = place[entry.tensorIndex]
    holders = [*(model.metadata or []), *(tensor for one in model.subgraphs for tensor in one.tensors)]
    used = sorted({0, *(holder.buffer for holder in holders)})
    model.buffers = [model.buffers[index] for index in used]
    for holder in holders:
        holder.buffer = used.index(holder.buffer)


def is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
