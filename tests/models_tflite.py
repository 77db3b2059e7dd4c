"""Float .tflite files as exporters write them: made from a checked-in CNN by changes of its flatbuffer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tflite_edit
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tflq.flatbuffer import constants, edit, metadata
from tflq.flatbuffer.float16_constants import fold_float16

INPUT = "image"
OPEN = -1


def cnn() -> Any:
    """A float32 CNN with the input image [1, 8, 8, 3] and the output scores [1, 4]."""
    model = tflite_edit.load("cnn_float16")
    fold_float16(model)
    model.metadata = [entry for entry in model.metadata if entry.name != b"reduced_precision_support"]
    return model


def with_float16(model: Any) -> None:
    """As exporters for GPUs: every weight is float16, behind a DEQUANTIZE op."""
    model.__dict__.update(vars(tflite_edit.load("cnn_float16")))


def from_torch(model: Any) -> None:
    """As litert-torch: channels first, names by position, and metadata that the quantizer obeys."""
    (subgraph,), (signature,) = model.subgraphs, model.signatureDefs
    old = subgraph.inputs[0]
    order = edit.add_constant(model, "order", np.array([0, 2, 3, 1]))
    first = edit.add_tensor(model, "serving_default_args_0:0", [1, 3, 8, 8])
    code = schema.OperatorCodeT(
        builtinCode=schema.BuiltinOperator.TRANSPOSE, deprecatedBuiltinCode=schema.BuiltinOperator.TRANSPOSE, version=1
    )
    transpose = schema.OperatorT(opcodeIndex=edit.code_index(model, code), inputs=[first, order], outputs=[old])
    transpose.builtinOptionsType = schema.BuiltinOptions.TransposeOptions
    transpose.builtinOptions = schema.TransposeOptionsT()
    subgraph.operators = [transpose, *subgraph.operators]
    subgraph.inputs = [first]
    signature.inputs = [schema.TensorMapT(b"args_0", first)]
    signature.outputs[0].name = b"output_0"
    metadata.add_metadata(model, b"keep_stablehlo_constant", b"true")


def without_signature(model: Any) -> None:
    """As files of before 2021."""
    model.signatureDefs = []


def without_names(model: Any) -> None:
    without_signature(model)
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b""


def with_two_signatures(model: Any) -> None:
    """As a model with two entry points: `embed` is a subgraph of its own, with its own weights."""
    other = cnn()
    (subgraph,), (signature,) = other.subgraphs, other.signatureDefs
    for tensor in subgraph.tensors:
        if edit.is_constant(other, tensor):
            values = np.array(other.buffers[tensor.buffer].data)
            if tensor.type == schema.TensorType.FLOAT32:
                values = (values.view("<f4") * 2).view(np.uint8)
            model.buffers.append(schema.BufferT(data=values))
            tensor.buffer = len(model.buffers) - 1
    for operator in subgraph.operators:
        operator.opcodeIndex = edit.code_index(model, other.operatorCodes[operator.opcodeIndex])
    model.subgraphs.append(subgraph)
    signature.subgraphIndex, signature.signatureKey = 1, b"embed"
    model.signatureDefs.append(signature)


def with_open_sizes(model: Any) -> None:
    """Batch, height and width of all activations are open."""
    for tensor in model.subgraphs[0].tensors:
        if not edit.is_constant(model, tensor) and len(tensor.shape) > 1:
            tensor.shapeSignature = [OPEN] * (len(tensor.shape) - 1) + [tensor.shape[-1]]


def with_computed_shape(model: Any) -> None:
    """The scores are reshaped to [batch, 2, 2], as Keras writes it for an open batch: SHAPE, STRIDED_SLICE, PACK."""
    with_open_sizes(model)
    (subgraph,) = model.subgraphs
    scores = int(subgraph.outputs[0])
    begin, end, step, two = (edit.add_constant(model, f"c{i}", np.array(v)) for i, v in enumerate(([0], [1], [1], 2)))
    shape, batch, sizes = (edit.add_tensor(model, name, dims, "INT32") for name, dims in SIZES)
    output = edit.add_tensor(model, "reshaped", [1, 2, 2])
    subgraph.tensors[output].shapeSignature = [OPEN, OPEN, OPEN]
    options = schema.BuiltinOptions
    slicing = schema.StridedSliceOptionsT(shrinkAxisMask=1)
    subgraph.operators += [
        _operator(model, "SHAPE", [scores], shape, (options.ShapeOptions, schema.ShapeOptionsT(outType=2))),
        _operator(model, "STRIDED_SLICE", [shape, begin, end, step], batch, (options.StridedSliceOptions, slicing)),
        _operator(model, "PACK", [batch, two, two], sizes, (options.PackOptions, schema.PackOptionsT(valuesCount=3))),
        _operator(model, "RESHAPE", [scores, sizes], output, (options.ReshapeOptions, schema.ReshapeOptionsT())),
    ]
    subgraph.outputs = [output]
    model.signatureDefs[0].outputs[0].tensorIndex = output


SIZES = (("shape", [2]), ("batch", []), ("sizes", [3]))


def _operator(model: Any, type_: str, inputs: list[int], output: int, options: tuple[int, Any]) -> Any:
    number = getattr(schema.BuiltinOperator, type_)
    code = schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=number, version=1)
    return schema.OperatorT(
        opcodeIndex=edit.code_index(model, code),
        inputs=inputs,
        outputs=[output],
        builtinOptionsType=options[0],
        builtinOptions=options[1],
    )


def weights(model: Any, type_: str = "CONV_2D") -> Any:
    return tflite_edit.read_by(model, type_, 1)


def with_wrong_channels(model: Any) -> None:
    """As a bug of an exporter: the first convolution reads 2 channels of an image that has 3."""
    tensor = weights(model)
    tensor.shape[-1] = 2
    model.buffers[tensor.buffer].data = np.zeros(4 * int(np.prod(tensor.shape)), np.uint8)


def with_sparse_weights(model: Any) -> None:
    weights(model).sparsity = schema.SparsityParametersT(traversalOrder=[0, 1, 2, 3])


def with_densify(model: Any) -> None:
    operator = tflite_edit.operator(model, "CONV_2D")
    stored = operator.inputs[1]
    operator.inputs[1] = edit.add_copy(model.subgraphs[0], stored)
    model.subgraphs[0].tensors[operator.inputs[1]].buffer = 0
    densify = (schema.BuiltinOptions.DensifyOptions, schema.DensifyOptionsT())
    added = _operator(model, "DENSIFY", [stored], operator.inputs[1], densify)
    model.subgraphs[0].operators = [added, *model.subgraphs[0].operators]


def with_custom_op(name: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        code = schema.OperatorCodeT(builtinCode=schema.BuiltinOperator.CUSTOM, customCode=name.encode(), version=1)
        tflite_edit.operator(model, "SOFTMAX").opcodeIndex = edit.code_index(model, code)

    return change


def with_fake_quant(model: Any) -> None:
    options = schema.FakeQuantOptionsT(min=-1.0, max=1.0, numBits=8)
    subgraph, scores = model.subgraphs[0], int(model.subgraphs[0].outputs[0])
    output = edit.add_copy(subgraph, scores)
    fake = _operator(model, "FAKE_QUANT", [scores], output, (schema.BuiltinOptions.FakeQuantOptions, options))
    subgraph.operators.append(fake)


def with_int8_weights(model: Any) -> None:
    """As a file of dynamic-range quantization."""
    tensor = weights(model)
    values = constants.float32_values(model, tensor)
    tensor.buffer = constants.add_buffer(model, np.round(values / 0.02).astype(np.int8))
    tensor.type = schema.TensorType.INT8
    tensor.quantization = schema.QuantizationParametersT(scale=[0.02], zeroPoint=[0])


def in_float16(model: Any) -> None:
    """As a model that was exported in half precision."""
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.FLOAT32 and not edit.is_constant(model, tensor):
            tensor.type = schema.TensorType.FLOAT16


def made(path: Path, *changes: Callable[[Any], None]) -> Path:
    """Write the CNN with these changes."""
    model = cnn()
    for change in changes:
        change(model)
    path.write_bytes(tflite_edit.packed(model))
    return path


def with_weights_outside(path: Path) -> Path:
    """As files of more than 2 GB and those of litert-quantizer: larger constants stand behind the flatbuffer."""
    model, outside = cnn(), list[bytes]()
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data) >= 256:
            outside.append(bytes(buffer.data))
            buffer.data, buffer.offset, buffer.size = None, 2, 2
    content = bytearray(tflite_edit.packed(model))
    packed = schema.Model.GetRootAs(content)
    for index in range(packed.BuffersLength()):
        if packed.Buffers(index).Offset():
            stored = outside.pop(0)
            content_end = len(content) + -len(content) % 16
            flatbuffer_utils.update_packed_buffer(packed.Buffers(index), content_end, len(stored))
            content = bytearray(bytes(content).ljust(content_end, b"\0") + stored)
            packed = schema.Model.GetRootAs(content)
    path.write_bytes(content)
    return path


def sum_of_channels(path: Path) -> Path:
    """Write a float32 file that adds up the 16 values of its input, as JAX writes a mean."""
    model = _empty()
    first, total = edit.add_tensor(model, "x", [1, 16]), edit.add_tensor(model, "y", [1])
    axes = edit.add_constant(model, "axes", np.array([1]))
    return _one_op(path, model, edit.reduction(model, "SUM", [first, axes], total))


def minus_from_zeros(path: Path) -> Path:
    """Write a float32 file that subtracts its input from zeros, as PyTorch's normalization does without a bias."""
    model = _empty()
    first, negative = edit.add_tensor(model, "x", [1, 16]), edit.add_tensor(model, "y", [1, 16])
    zeros = edit.add_tensor(model, "zeros", [16])
    model.subgraphs[0].tensors[zeros].buffer = constants.add_buffer(model, np.zeros(16, np.float32))
    options = schema.BuiltinOptions.SubOptions, schema.SubOptionsT()
    return _one_op(path, model, _operator(model, "SUB", [zeros, first], negative, options))


def _empty() -> Any:
    subgraph = schema.SubGraphT(tensors=[])
    return schema.ModelT(version=3, buffers=[schema.BufferT()], subgraphs=[subgraph], operatorCodes=[])


def _one_op(path: Path, model: Any, operator: Any) -> Path:
    """Write the model with this op, from the tensor 0 to the tensor 1."""
    (subgraph,) = model.subgraphs
    subgraph.operators, subgraph.inputs, subgraph.outputs = [operator], [0], [1]
    inputs, outputs = [schema.TensorMapT(b"x", 0)], [schema.TensorMapT(b"y", 1)]
    model.signatureDefs = [schema.SignatureDefT(inputs, outputs, b"serving_default", 0)]
    path.write_bytes(tflite_edit.packed(model))
    return path


def without_bias(model: Any) -> None:
    """The dense layer has no bias, and the weights of its first output are zeros."""
    operator, tensor = tflite_edit.operator(model, "FULLY_CONNECTED"), weights(model, "FULLY_CONNECTED")
    values = constants.float32_values(model, tensor).copy()
    values[0] = 0
    tensor.buffer = constants.add_buffer(model, values)
    operator.inputs = [*operator.inputs[:2], -1]
