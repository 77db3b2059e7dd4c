"""What a finished file can be held to: which ops stay in float and why, and whether it is called as its source is."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tflq.datasets import TensorSpec, brackets

if TYPE_CHECKING:  # reading a recipe needs the modes, but no file is read then
    from tflq.flatbuffer import Graph, Operator, Subgraph, Tensor
    from tflq.rules import Violation

Shape = tuple[int | None, ...]

ASKED_FOR = "asked for by keep_float"
"""The reason of a float op that breaks no contract."""
ADAPTORS = ("QUANTIZE", "DEQUANTIZE")
"""Ops that only pass from float to integers or back."""

_INT16 = """
    ABS ADD AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_TO CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXP
    EXPAND_DIMS FILL FULLY_CONNECTED GATHER GATHER_ND GELU LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL PACK PAD PADV2 REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SCATTER_ND SELECT SLICE SOFTMAX SPACE_TO_BATCH_ND SPLIT SPLIT_V
    SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV UNPACK
"""
_INT8_ALONE = """
    ARG_MAX ARG_MIN DEPTH_TO_SPACE DIV EQUAL GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION LESS LESS_EQUAL
    LOG_SOFTMAX MATRIX_DIAG MATRIX_SET_DIAG ONE_HOT PRELU REVERSE_SEQUENCE SELECT_V2 SPACE_TO_DEPTH SPARSE_TO_DENSE SQRT
    TOPK_V2 UNIDIRECTIONAL_SEQUENCE_LSTM
"""
QUANTIZABLE = {"int16": frozenset(_INT16.split()), "int8": frozenset(_INT16.split() + _INT8_ALONE.split())}
"""Ops that TensorFlow 2.21's quantizer makes integers of, found by converting models of little more than one op."""

DYNAMIC_RANGE_MINIMUM_ELEMENTS = 1024
"""Weights with fewer elements are left in float by the converter's dynamic-range quantization."""


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
    """The tensors that ops read or write, in all subgraphs, each once."""
    for subgraph in graph.subgraphs:
        used = [(*subgraph.read_by(operator), *subgraph.written_by(operator)) for operator in subgraph.operators]
        yield from {tensor.index: tensor for some in used for tensor in some}.values()


def activations(subgraph: Subgraph, operator: Operator) -> list[Tensor]:
    """What the op reads and writes, its constants left out."""
    both = (*subgraph.read_by(operator), *subgraph.written_by(operator))
    return [tensor for tensor in both if not tensor.is_constant]


def quantized_activations(graph: Graph) -> Iterator[Tensor]:
    """The activations that are quantized; not those made of constants alone, such as rows taken from a table."""
    for subgraph in graph.subgraphs:
        constant = {tensor.index for tensor in subgraph.tensors if tensor.is_constant}
        for operator in subgraph.operators:
            values = [tensor for tensor in subgraph.read_by(operator) if tensor.is_float or tensor.quantization]
            if values and all(tensor.index in constant for tensor in values):
                constant |= {tensor.index for tensor in subgraph.written_by(operator)}
            yield from (t for t in subgraph.written_by(operator) if t.quantization and t.index not in constant)


def unasked_integers(found: Iterable[Tensor]) -> Iterator[Violation]:
    """Integers in a file that should have none: nothing but the source can have asked for them."""
    quantized = list(found)
    if quantized:
        yield broken(
            "the file",
            f"computes with integers, such as {quantized[0].name!r} of {quantized[0].dtype}, {len(quantized)} in all:"
            " the source holds fake quantization, as quantization-aware training leaves it; take int8 or int8_only",
        )


def unquantized_weights(graph: Graph) -> Iterator[Violation]:
    """Where the converter's dynamic-range quantization found nothing to quantize."""
    weights = [tensor for tensor in tensors(graph) if tensor.is_constant]
    if any(tensor.dtype == "int8" and tensor.quantization for tensor in weights):
        return
    sizes = [math.prod(tensor.shape) for tensor in weights if tensor.dtype == "float32"]
    small = sum(size < DYNAMIC_RANGE_MINIMUM_ELEMENTS for size in sizes)
    why = f"of its {len(sizes)} constants {small} have too few elements, under {DYNAMIC_RANGE_MINIMUM_ELEMENTS:,}"
    remedy = "take float16 or int8 instead" if sizes else "take int8 instead"
    yield broken("the file", f"is still a float32 file: {why if sizes else 'it holds no float constants'}; {remedy}")


def has_integer_op(graph: Graph, dtype: str) -> bool:
    """Whether any op but an adaptor computes on quantized activations of that dtype."""
    return any(
        operator.type not in ADAPTORS
        and any(tensor.dtype == dtype and tensor.quantization for tensor in activations(subgraph, operator))
        for subgraph, operator in graph.operators()
    )


def float_ops(graph: Graph, kept: Collection[int] = ()) -> Iterator[FloatOp]:
    """Every op that computes on float activations, adaptors apart, and the reason for it.

    `kept` are the ops of the main graph that keep_float names.
    """
    from tflq.flatbuffer import float_operators

    left = list(float_operators(graph))
    dtype = "int16" if has_integer_op(graph, "int16") else "int8"
    for subgraph, operator in left:
        others = [other for place, other in left if place is subgraph and other is not operator]
        is_kept = subgraph.index == 0 and operator.index in kept
        reason = ASKED_FOR if is_kept else _reason(subgraph, operator, dtype, others)
        yield FloatOp(operator.type, _name(subgraph, operator), reason)


def left_in_float(graph: Graph, kept: Collection[int] = ()) -> Iterator[Violation]:
    """The ops of `float_ops` that nobody asked for, those of one type and reason together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for op in float_ops(graph, kept):
        if op.reason != ASKED_FOR:
            groups.setdefault((op.type, op.reason), []).append(op.tensor)
    for (type_, reason), names in groups.items():
        more = f" and {len(names) - 1} more of them" if len(names) > 1 else ""
        name = ";".join(dict.fromkeys(names[0].split(";")))  # of an op made of several, that of each, often twice
        yield broken(f"{type_} {name!r}{more}", f"{'stay' if more else 'stays'} in float: {reason}")


def _name(subgraph: Subgraph, operator: Operator) -> str:
    named = subgraph.written_by(operator) or subgraph.read_by(operator)
    return named[0].name if named else f"op {operator.index}"


def _reason(subgraph: Subgraph, operator: Operator, dtype: str, others: Sequence[Operator]) -> str:
    """Why the op is not of that dtype; `others` are the other ops of its subgraph that stay in float."""
    if operator.is_custom:
        return "a TensorFlow op, run by Flex" if operator.type.startswith("Flex") else "a custom op"
    if operator.type in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
        return "the converter makes no integers of variables"
    first = next(iter(subgraph.read_by(operator)), None)
    if first and first.dtype in ("int32", "int64", "uint8", "bool") and operator.type == "CAST":
        return f"makes floats of {first.dtype}, which is no quantized float"
    if operator.type not in QUANTIZABLE[dtype]:
        return f"the quantizer knows no {dtype} version of this op"
    if subgraph.index:
        return "it is in the body of a control-flow op"
    if beside := _neighbours(operator, others):
        return f"beside {beside[0]}, which stays in float"
    if any(not _is_used(subgraph, index) for index in operator.outputs):
        return "nothing uses one of its outputs, so calibration found no range for it"
    return "the quantizer passed it over: no range for a tensor, or scales that cannot be made equal"


def _neighbours(operator: Operator, others: Sequence[Operator]) -> list[str]:
    """The types of those that write what the op reads, or read what it writes."""
    return [o.type for o in others if {*o.outputs} & {*operator.inputs} or {*o.inputs} & {*operator.outputs}]


def _is_used(subgraph: Subgraph, tensor: int) -> bool:
    return tensor in subgraph.outputs or any(tensor in operator.inputs for operator in subgraph.operators)


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
    if spec.shape is not None and not _fits(made, spec.shape, is_open=where.startswith("input")):
        yield broken(where, f"has the shape {brackets(made)}, the source's is {brackets(spec.shape)}", "V12")


def _fits(made: Shape, wanted: Shape, is_open: bool) -> bool:
    """Whether the sizes are those wanted; one that the source leaves open must be open too where `is_open`."""
    return len(made) == len(wanted) and all(
        size == known or (known is None and not is_open) for size, known in zip(made, wanted, strict=True)
    )


def outside_ops(graph: Graph, allow_custom_ops: bool, select_tf_ops: bool) -> Iterator[Violation]:
    """Custom and TensorFlow ops that the recipe does not allow."""
    for subgraph, operator in graph.operators():
        flex = operator.type.startswith("Flex")
        if operator.is_custom and not (select_tf_ops if flex else allow_custom_ops):
            remedy = "select_tf_ops" if flex else "allow_custom_ops"
            where = f"{operator.type} {_name(subgraph, operator)!r}"
            yield broken(where, f"no plain runtime has this op, and {remedy} is off", "V12")
