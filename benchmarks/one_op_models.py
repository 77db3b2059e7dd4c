"""Float models of one op, for the table of which op computes in which dtype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.flatbuffer import edit

Shape = tuple[int, ...]
Read = np.ndarray | Shape | None
"""What an op reads: a constant, an input of that shape, or nothing."""
RANDOM = np.random.default_rng(0)
SIZE = (1, 4, 4, 4)
VALID, SAME = schema.Padding.VALID, schema.Padding.SAME
TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
}


@dataclass(frozen=True)
class OneOp:
    """An op with what it reads and writes. Inputs are constants, or shapes of float inputs of the model."""

    type: str
    inputs: Sequence[Read]
    outputs: Sequence[Shape] = (SIZE,)
    options: str = ""
    """The name of the class of its options in the file format, without `Options`."""
    values: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    """The dtype of its outputs."""
    states: Sequence[int] = ()
    """The positions of inputs that are variables."""
    intermediates: int = 0


def weights(*shape: int) -> np.ndarray:
    return RANDOM.normal(0, 0.3, shape).astype(np.float32)


def numbers(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.int32 if isinstance(value, int) else np.float32)


def elementwise() -> Iterator[OneOp]:
    plain = ("CEIL", "ELU", "FLOOR", "LOG", "LOGISTIC", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "ROUND")
    for type_ in (*plain, "RSQRT", "SIN", "SQRT", "TANH"):
        yield OneOp(type_, [SIZE])
    named = "ABS Abs,COS Cos,EXP Exp,HARD_SWISH HardSwish,NEG Neg,SIGN Sign,SQUARE Square,GELU Gelu,SOFTMAX Softmax"
    more = "LOG_SOFTMAX LogSoftmax,L2_NORMALIZATION L2Norm,ZEROS_LIKE ZerosLike"
    for pair in f"{named},{more}".split(","):
        type_, options = pair.split()
        yield OneOp(type_, [SIZE], options=options, values={"beta": 1.0} if type_ == "SOFTMAX" else {})
    yield OneOp("LEAKY_RELU", [SIZE], options="LeakyRelu", values={"alpha": 0.1})
    yield OneOp("PRELU", [SIZE, weights(1, 1, 4)])
    yield OneOp(
        "LOCAL_RESPONSE_NORMALIZATION",
        [SIZE],
        options="LocalResponseNormalization",
        values={"radius": 2, "bias": 1.0, "alpha": 1.0, "beta": 0.5},
    )
    two = "ADD Add,SUB Sub,MUL Mul,DIV Div,MAXIMUM MaximumMinimum,MINIMUM MaximumMinimum,POW Pow,FLOOR_DIV FloorDiv"
    for pair in f"{two},FLOOR_MOD FloorMod,SQUARED_DIFFERENCE SquaredDifference,ATAN2 ATan2".split(","):
        type_, options = pair.split()
        yield OneOp(type_, [SIZE, SIZE], options=options)
    yield OneOp("ADD_N", [SIZE, SIZE, SIZE], options="AddN")
    for word in ("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"):
        type_ = "".join(f"_{letter}" if letter.isupper() else letter for letter in word).strip("_").upper()
        yield OneOp(type_, [SIZE, SIZE], options=word, dtype="bool")
    chosen = RANDOM.random(SIZE) < 0.5
    yield OneOp("SELECT", [chosen, SIZE, SIZE], options="Select")
    yield OneOp("SELECT_V2", [chosen, SIZE, SIZE], options="SelectV2")
    cast = {"inDataType": TYPES["float32"], "outDataType": TYPES["int32"]}
    yield OneOp("CAST", [SIZE], options="Cast", values=cast, dtype="int32")


def reductions() -> Iterator[OneOp]:
    for type_ in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"):
        yield OneOp(type_, [SIZE, numbers(1, 2)], [(1, 4)], "Reducer")
    yield OneOp("CUMSUM", [SIZE, scalar(1)], options="Cumsum")
    for type_, options in (("ARG_MAX", "ArgMax"), ("ARG_MIN", "ArgMin")):
        yield OneOp(type_, [SIZE, scalar(3)], [(1, 4, 4)], options, {"outputType": TYPES["int64"]}, "int64")
    yield OneOp("SEGMENT_SUM", [(4, 4), numbers(0, 0, 1, 1)], [(2, 4)], "SegmentSum")
    for word in ("Sum", "Min", "Max", "Prod"):
        type_ = f"UNSORTED_SEGMENT_{word.upper()}"
        yield OneOp(type_, [(4, 4), numbers(0, 0, 1, 1), scalar(2)], [(2, 4)], f"UnsortedSegment{word}")


def layout() -> Iterator[OneOp]:
    yield OneOp("RESHAPE", [SIZE, numbers(4, 16)], [(4, 16)], "Reshape", {"newShape": [4, 16]})
    yield OneOp("SQUEEZE", [SIZE], [(4, 4, 4)], "Squeeze", {"squeezeDims": [0]})
    yield OneOp("EXPAND_DIMS", [SIZE, scalar(0)], [(1, *SIZE)], "ExpandDims")
    yield OneOp("TRANSPOSE", [SIZE, numbers(0, 2, 1, 3)], options="Transpose")
    yield OneOp("SLICE", [SIZE, numbers(0, 1, 1, 0), numbers(1, 2, 2, 4)], [(1, 2, 2, 4)], "Slice")
    ends = [numbers(0, 1, 1, 0), numbers(1, 3, 3, 4), numbers(1, 1, 1, 1)]
    yield OneOp("STRIDED_SLICE", [SIZE, *ends], [(1, 2, 2, 4)], "StridedSlice")
    halves = [(1, 4, 4, 2)] * 2
    yield OneOp("SPLIT", [scalar(3), SIZE], halves, "Split", {"numSplits": 2})
    yield OneOp("SPLIT_V", [SIZE, numbers(2, 2), scalar(3)], halves, "SplitV", {"numSplits": 2})
    yield OneOp("PACK", [SIZE, SIZE], [(2, *SIZE)], "Pack", {"valuesCount": 2})
    yield OneOp("UNPACK", [SIZE], [(1, 4, 4)] * 4, "Unpack", {"num": 4, "axis": 1})
    yield OneOp("CONCATENATION", [SIZE, SIZE], [(1, 4, 4, 8)], "Concatenation", {"axis": 3})
    yield OneOp("TILE", [SIZE, numbers(1, 2, 1, 1)], [(1, 8, 4, 4)], "Tile")
    yield OneOp("BROADCAST_TO", [(1, 4), numbers(3, 4)], [(3, 4)], "BroadcastTo")
    yield OneOp("REVERSE_V2", [SIZE, numbers(1)], options="ReverseV2")
    lengths: list[Read] = [(2, 4, 4), numbers(2, 3)]
    yield OneOp("REVERSE_SEQUENCE", lengths, [(2, 4, 4)], "ReverseSequence", {"seqDim": 1})
    margins = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    yield OneOp("PAD", [SIZE, margins], [(1, 6, 6, 4)], "Pad")
    yield OneOp("PADV2", [SIZE, margins, scalar(0.5)], [(1, 6, 6, 4)], "PadV2")
    yield OneOp("MIRROR_PAD", [SIZE, margins], [(1, 6, 6, 4)], "MirrorPad")
    yield OneOp("GATHER", [(5, 4), numbers(0, 3)], [(2, 4)], "Gather")
    yield OneOp("GATHER_ND", [(5, 4), numbers([0], [3])], [(2, 4)], "GatherNd")
    yield OneOp("EMBEDDING_LOOKUP", [numbers(0, 3), (5, 4)], [(2, 4)])
    yield OneOp("SCATTER_ND", [numbers([0], [3]), (2, 4), numbers(5, 4)], [(5, 4)], "ScatterNd")
    yield OneOp("DYNAMIC_UPDATE_SLICE", [(5, 4), (2, 4), numbers(1, 0)], [(5, 4)], "DynamicUpdateSlice")
    yield OneOp("FILL", [numbers(3, 4), ()], [(3, 4)], "Fill")
    yield OneOp("ONE_HOT", [numbers(0, 2), scalar(4), (), ()], [(2, 4)], "OneHot", {"axis": -1})
    yield OneOp("SPARSE_TO_DENSE", [numbers(1, 2), numbers(5), (2,), ()], [(5,)], "SparseToDense")
    yield OneOp("TOPK_V2", [(2, 8), scalar(3)], [(2, 3), (2, 3)], "TopKV2")
    yield OneOp("MATRIX_DIAG", [(2, 3)], [(2, 3, 3)], "MatrixDiag")
    yield OneOp("MATRIX_SET_DIAG", [(2, 3, 3), (2, 3)], [(2, 3, 3)], "MatrixSetDiag")
    yield OneOp("SPACE_TO_DEPTH", [SIZE], [(1, 2, 2, 16)], "SpaceToDepth", {"blockSize": 2})
    yield OneOp("DEPTH_TO_SPACE", [SIZE], [(1, 8, 8, 1)], "DepthToSpace", {"blockSize": 2})
    crops = np.zeros((2, 2), np.int32)
    yield OneOp("SPACE_TO_BATCH_ND", [SIZE, numbers(2, 2), crops], [(4, 2, 2, 4)], "SpaceToBatchND")
    yield OneOp("BATCH_TO_SPACE_ND", [(4, 2, 2, 4), numbers(2, 2), crops], [SIZE], "BatchToSpaceND")
    for word in ("Bilinear", "NearestNeighbor"):
        type_ = {"Bilinear": "RESIZE_BILINEAR", "NearestNeighbor": "RESIZE_NEAREST_NEIGHBOR"}[word]
        yield OneOp(type_, [SIZE, numbers(8, 8)], [(1, 8, 8, 4)], f"Resize{word}")


def layers() -> Iterator[OneOp]:
    one = {"strideH": 1, "strideW": 1, "padding": SAME}
    deep = {"depthMultiplier": 1, "strideH": 1, "strideW": 1, "padding": SAME}
    yield OneOp("CONV_2D", [SIZE, weights(4, 3, 3, 4), weights(4)], options="Conv2D", values=one)
    yield OneOp("DEPTHWISE_CONV_2D", [SIZE, weights(1, 3, 3, 4), weights(4)], options="DepthwiseConv2D", values=deep)
    transposed: list[Read] = [numbers(1, 4, 4, 4), weights(4, 3, 3, 4), SIZE]
    yield OneOp("TRANSPOSE_CONV", transposed, options="TransposeConv", values=one)
    volume, three = (1, 3, 4, 4, 2), {**one, "strideD": 1}
    yield OneOp("CONV_3D", [volume, weights(2, 3, 3, 2, 2)], [volume], "Conv3D", three)
    reverse: list[Read] = [numbers(*volume), weights(2, 3, 3, 2, 2), volume]
    yield OneOp("CONV_3D_TRANSPOSE", reverse, [volume], "Conv3D", three)
    yield OneOp("FULLY_CONNECTED", [(1, 8), weights(4, 8), weights(4)], [(1, 4)], "FullyConnected")
    yield OneOp("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5)], [(2, 3, 5)], "BatchMatMul")
    pool = {"filterWidth": 2, "filterHeight": 2, "strideW": 2, "strideH": 2, "padding": VALID}
    for type_ in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
        yield OneOp(type_, [SIZE], [(1, 2, 2, 4)], "Pool2D", pool)
    gates, of_state = [weights(4, 3) for _ in range(4)], [weights(4, 4) for _ in range(4)]
    biases = [weights(4) for _ in range(4)]
    yield OneOp(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [(1, 5, 3), *gates, *of_state, *[None] * 3, *biases, None, None, (1, 4), (1, 4), *[None] * 4],
        [(1, 5, 4)],
        "UnidirectionalSequenceLSTM",
        {"fusedActivationFunction": schema.ActivationFunctionType.TANH, "cellClip": 10.0},
        states=(18, 19),
        intermediates=5,
    )


def one_op_models() -> tuple[OneOp, ...]:
    return (*elementwise(), *reductions(), *layout(), *layers())


def model_of(op: OneOp, version: int) -> Any:
    """Return the float model of that op alone, at that version."""
    model = schema.ModelT(version=3, buffers=[schema.BufferT()])
    graph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], name=b"main")
    model.subgraphs = [graph]
    inputs = [_input(model, op, position) for position in range(len(op.inputs))]
    graph.outputs = [_tensor(model, f"y{i}", shape, op.dtype) for i, shape in enumerate(op.outputs)]
    if op.type == "TOPK_V2":
        graph.tensors[graph.outputs[1]].type = TYPES["int32"]
    operator = schema.OperatorT(inputs=inputs, outputs=list(graph.outputs), opcodeIndex=0)
    operator.intermediates = [_tensor(model, f"between{i}", (), "float32") for i in range(op.intermediates)]
    if op.options:
        _set_options(operator, op)
    number = getattr(schema.BuiltinOperator, op.type)
    code = schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=version)
    graph.operators, model.operatorCodes = [operator], [code]
    ends = ((graph.inputs, "x"), (graph.outputs, "y"))
    maps = [[schema.TensorMapT(f"{n}{i}".encode(), index) for i, index in enumerate(end)] for end, n in ends]
    model.signatureDefs = [schema.SignatureDefT(maps[0], maps[1], b"serving_default", 0)]
    return model


def _set_options(operator: Any, op: OneOp) -> None:
    options = getattr(schema, f"{op.options}OptionsT")()
    for key, value in op.values.items():
        setattr(options, key, value)
    is_new = not hasattr(schema.BuiltinOptions, f"{op.options}Options")
    kinds = schema.BuiltinOptions2 if is_new else schema.BuiltinOptions
    end = "2" if is_new else ""
    setattr(operator, f"builtinOptions{end}Type", getattr(kinds, f"{op.options}Options"))
    setattr(operator, f"builtinOptions{end}", options)


def _input(model: Any, op: OneOp, position: int) -> int:
    value, (graph,) = op.inputs[position], model.subgraphs
    if value is None:
        return -1
    if not isinstance(value, np.ndarray):
        index = _tensor(model, f"x{position}", value, "float32")
        if position in op.states:
            graph.tensors[index].isVariable = True
        else:
            graph.inputs.append(index)
        return index
    index = _tensor(model, f"c{position}", value.shape, str(value.dtype))
    model.buffers.append(schema.BufferT(data=np.frombuffer(value.tobytes(), np.uint8)))
    graph.tensors[index].buffer = len(model.buffers) - 1
    return index


def _tensor(model: Any, name: str, shape: Shape, dtype: str) -> int:
    index = edit.add_tensor(model, name, list(shape))
    model.subgraphs[0].tensors[index].type = TYPES[dtype]
    return index
