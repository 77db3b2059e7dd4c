"""What a finished file can be held to: which ops stay in float and why, and whether it is called as its source is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tflq.datasets import TensorSpec

if TYPE_CHECKING:  # reading a recipe needs the modes, but no file is read then
    from tflq.flatbuffer import Graph, Operator, Subgraph, Tensor
    from tflq.rules import Violation

ADAPTORS = ("QUANTIZE", "DEQUANTIZE")
"""Ops that only pass from float to integers or back."""

WITHOUT_FLOAT = ("CALL_ONCE", "VAR_HANDLE", "WHILE", "IF", "CALL")
"""Ops that compute nothing themselves: their bodies are subgraphs, looked at on their own."""

QUANTIZABLE = frozenset(
    """ABS ADD AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE
    DIV EQUAL EXP EXPAND_DIMS FULLY_CONNECTED GATHER GATHER_ND GELU GREATER GREATER_EQUAL HARD_SWISH
    L2_NORMALIZATION LEAKY_RELU LESS LESS_EQUAL LOGISTIC LOG_SOFTMAX LOG MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD
    MUL NOT_EQUAL PACK PAD PADV2 POW PRELU REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SELECT SELECT_V2 SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT
    SPLIT_V SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TILE TOPK_V2 TRANSPOSE TRANSPOSE_CONV
    UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK""".split()
)
"""Ops that the converter's quantizer knows how to make int8."""


@dataclass(frozen=True)
class FloatOp:
    """An op that computes in float, by the tensor that it writes."""

    type: str
    tensor: str
    reason: str


def broken(where: str, message: str, rule: str = "V11") -> Violation:
    from tflq.rules import Violation

    return Violation(rule, where, message, "error")


def tensors(graph: Graph) -> Iterator[Tensor]:
    """The tensors that ops read or write, in all subgraphs."""
    for subgraph, operator in graph.operators():
        yield from (*subgraph.read_by(operator), *subgraph.written_by(operator))


def activations(subgraph: Subgraph, operator: Operator) -> list[Tensor]:
    """What the op reads and writes, its constants left out."""
    both = (*subgraph.read_by(operator), *subgraph.written_by(operator))
    return [tensor for tensor in both if not tensor.is_constant]


def has_integer_op(graph: Graph, dtype: str) -> bool:
    """Whether any op but an adaptor computes on quantized activations of that dtype."""
    return any(
        operator.type not in ADAPTORS
        and any(tensor.dtype == dtype and tensor.quantization for tensor in activations(subgraph, operator))
        for subgraph, operator in graph.operators()
    )


def float_ops(graph: Graph) -> Iterator[FloatOp]:
    """Every op that computes on float activations, adaptors apart, and the reason for it."""
    for subgraph, operator in graph.operators():
        if operator.type in ADAPTORS or operator.type in WITHOUT_FLOAT:
            continue
        if any(tensor.is_float for tensor in activations(subgraph, operator)):
            yield FloatOp(operator.type, _name(subgraph, operator), _reason(subgraph, operator))


def _name(subgraph: Subgraph, operator: Operator) -> str:
    written = subgraph.written_by(operator)
    return written[0].name if written else f"op {operator.index}"


def _reason(subgraph: Subgraph, operator: Operator) -> str:
    if operator.is_custom:
        return "a TensorFlow op, run by Flex" if operator.type.startswith("Flex") else "a custom op"
    if any(tensor.dtype.startswith("int") and not tensor.quantization for tensor in subgraph.read_by(operator)[:1]):
        return f"reads {subgraph.read_by(operator)[0].dtype}, which is not a quantized float"
    if operator.type not in QUANTIZABLE:
        return "the quantizer knows no integer version of this op"
    if subgraph.index:
        return "it is in the body of a control-flow op"
    return "a tensor of it has no range, or its neighbours cannot take integers"


def signature_violations(
    graph: Graph, inputs: Mapping[TensorSpec, str], outputs: Mapping[TensorSpec, str]
) -> Iterator[Violation]:
    """Where the file is not called as its source is; each spec is given with the dtype that the file should have."""
    if len(graph.signatures) != 1:
        yield broken("the file", f"has {len(graph.signatures)} signatures, not one", "V12")
        return
    (signature,) = graph.signatures
    subgraph = graph.subgraphs[signature.subgraph]
    for side, entries, expected in (("input", signature.inputs, inputs), ("output", signature.outputs, outputs)):
        made = {name: subgraph.tensors[index] for name, index in entries}
        if set(made) != {spec.name for spec in expected}:
            names = ", ".join(sorted(spec.name for spec in expected))
            yield broken("the file", f"has the {side}s {', '.join(sorted(made))}, not {names}", "V12")
            continue
        for spec, dtype in expected.items():
            yield from _mismatch(f"{side} {spec.name!r}", made[spec.name], spec, dtype)


def _mismatch(where: str, tensor: Tensor, spec: TensorSpec, dtype: str) -> Iterator[Violation]:
    if tensor.dtype != dtype:
        yield broken(where, f"is {tensor.dtype}, where {dtype} was asked")
    made = tuple(None if size == -1 else size for size in tensor.shape_signature or tensor.shape)
    if spec.shape is not None and len(made) != len(spec.shape):
        yield broken(where, f"has the shape {made}, the source's is {spec.shape}", "V12")
    elif spec.shape is not None and any(
        wanted is not None and size != wanted for size, wanted in zip(made, spec.shape, strict=True)
    ):
        yield broken(where, f"has the shape {made}, the source's is {spec.shape}", "V12")


def outside_ops(graph: Graph, allow_custom_ops: bool, select_tf_ops: bool) -> Iterator[Violation]:
    """Custom and TensorFlow ops that the recipe does not allow."""
    for subgraph, operator in graph.operators():
        flex = operator.type.startswith("Flex")
        if operator.is_custom and not (select_tf_ops if flex else allow_custom_ops):
            remedy = "select_tf_ops" if flex else "allow_custom_ops"
            where = f"{operator.type} {_name(subgraph, operator)!r}"
            yield broken(where, f"no plain runtime has this op, and {remedy} is off", "V12")
