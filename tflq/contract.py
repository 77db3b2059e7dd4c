"""The parts of a mode's contract: which ops stay in float and why, and whether inputs and outputs fit the source."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tflq.datasets import TensorSpec, brackets
from tflq.op_dtypes import FAILING, QUANTIZABLE, remedy

if TYPE_CHECKING:  # a recipe is read with the modes, which import this module, but then no .tflite file is read
    from tflq.flatbuffer import Graph, Operator, Subgraph, Tensor
    from tflq.rules.violation import Violation

Shape = tuple[int | None, ...]

NAMED_BY_RECIPE = "named by keep_float"
"""The reason of a float op that breaks no contract."""
COMPARISONS = frozenset(["EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"])
ADAPTORS = ("QUANTIZE", "DEQUANTIZE")
"""Ops that only convert from float to integers or back."""

DYNAMIC_RANGE_MINIMUM_ELEMENTS = 1024
"""The converter's dynamic-range quantization leaves weights with fewer elements in float."""


@dataclass(frozen=True)
class FloatOp:
    """An op that computes in float, with the name of the tensor that it writes."""

    type: str
    tensor: str
    reason: str


@dataclass(frozen=True)
class NamedOps:
    """The ops of a file's main graph that the recipe names, by their indices in the file."""

    in_float: tuple[int, ...] = ()
    """The ops that keep_float names."""
    in_int16: tuple[int, ...] = ()
    """The ops that keep_int16 names."""


NO_OPS = NamedOps()


def broken(where: str, message: str, rule: str = "V11") -> Violation:
    from tflq.rules.violation import Violation

    return Violation(rule, where, message, "error")


def tensors(graph: Graph) -> Iterator[Tensor]:
    """Yield the tensors that ops read or write, in all subgraphs, each once."""
    for subgraph in graph.subgraphs:
        used = [(*subgraph.read_by(operator), *subgraph.written_by(operator)) for operator in subgraph.operators]
        yield from {tensor.index: tensor for of_operator in used for tensor in of_operator}.values()


def activations(subgraph: Subgraph, operator: Operator) -> list[Tensor]:
    """Return the tensors that the op reads and writes, without constants."""
    both = (*subgraph.read_by(operator), *subgraph.written_by(operator))
    return [tensor for tensor in both if not tensor.is_constant]


def quantized_activations(graph: Graph) -> Iterator[Tensor]:
    """Yield the quantized activations. Tensors that depend on constants alone are left out, such as embedding rows."""
    for subgraph in graph.subgraphs:
        constant = {tensor.index for tensor in subgraph.tensors if tensor.is_constant}
        for operator in subgraph.operators:
            values = [tensor for tensor in subgraph.read_by(operator) if tensor.is_float or tensor.quantization]
            if values and all(tensor.index in constant for tensor in values):
                constant |= {tensor.index for tensor in subgraph.written_by(operator)}
            yield from (t for t in subgraph.written_by(operator) if t.quantization and t.index not in constant)


def unexpected_integers(quantized: Iterable[Tensor]) -> Iterator[Violation]:
    """Yield a violation if there are quantized tensors in a file that should have none. The source caused them."""
    tensors = list(quantized)
    if tensors:
        yield broken(
            "the file",
            f"computes with integers, such as {tensors[0].name!r} of {tensors[0].dtype}, {len(tensors)} in all: the"
            " source has fake-quantize ops of quantization-aware training. Use mode int8 or int8_only",
        )


def unquantized_weights(graph: Graph) -> Iterator[Violation]:
    """Yield a violation if dynamic-range quantization quantized no weights."""
    weights = [tensor for tensor in tensors(graph) if tensor.is_constant]
    if any(tensor.dtype in ("int8", "int4") and tensor.quantization for tensor in weights):
        return
    sizes = [math.prod(tensor.shape) for tensor in weights if tensor.dtype == "float32"]
    small = sum(size < DYNAMIC_RANGE_MINIMUM_ELEMENTS for size in sizes)
    verb = "has" if small == 1 else "have"
    why = f"{small} of its {len(sizes)} constants {verb} fewer than {DYNAMIC_RANGE_MINIMUM_ELEMENTS:,} elements"
    remedy = "Use mode float16 or int8 instead" if sizes else "Use mode int8 instead"
    yield broken("the file", f"is still a float32 file: {why if sizes else 'it holds no float constants'}. {remedy}")


def has_integer_op(graph: Graph, dtype: str) -> bool:
    """Return whether an op, apart from `ADAPTORS`, has quantized activations of that dtype."""
    return any(
        operator.type not in ADAPTORS
        and any(tensor.dtype == dtype and tensor.quantization for tensor in activations(subgraph, operator))
        for subgraph, operator in graph.operators()
    )


def float_ops(graph: Graph, kept: Collection[int] = ()) -> Iterator[FloatOp]:
    """Yield every op that computes on float activations, apart from `ADAPTORS`, with the reason.

    `kept` holds the indices of the ops of the main graph that keep_float names.
    """
    from tflq.flatbuffer import float_operators

    operators = list(float_operators(graph))
    dtype = _integer_dtype(graph)
    for subgraph, operator in operators:
        others = [other for place, other in operators if place is subgraph and other is not operator]
        is_kept = subgraph.index == 0 and operator.index in kept
        reason = NAMED_BY_RECIPE if is_kept else _reason(subgraph, operator, dtype, others)
        yield FloatOp(operator.type, subgraph.name_of(operator), reason)


def _integer_dtype(graph: Graph) -> str:
    return "int16" if has_integer_op(graph, "int16") and not has_integer_op(graph, "int8") else "int8"


def left_in_float(graph: Graph, kept: Collection[int] = ()) -> Iterator[Violation]:
    """Yield a violation for the float ops that keep_float does not name, one for each type and reason."""
    dtype = _integer_dtype(graph)
    groups: dict[tuple[str, str], list[str]] = {}
    for op in float_ops(graph, kept):
        if op.reason != NAMED_BY_RECIPE:
            groups.setdefault((op.type, op.reason), []).append(op.tensor)
    for (type_, reason), names in groups.items():
        more = f" and {len(names) - 1} more of them" if len(names) > 1 else ""
        name = ";".join(dict.fromkeys(names[0].split(";")))  # a fused op has the names of its parts, often twice
        advice = remedy(type_, dtype)
        message = f"{'stay' if more else 'stays'} in float: {reason}{f'; {advice}' if advice else ''}"
        yield broken(f"{type_} {name!r}{more}", message)


def weights_left_in_float(graph: Graph, dtype: str, kept: Collection[int] = ()) -> Iterator[Violation]:
    """Yield a violation if most weights of the main graph stay in float, though their ops have kernels of that dtype.

    `kept` holds the indices of the ops that keep_float names. Their weights do not count.
    """
    from tflq.flatbuffer import ROLES, float_operators

    (main, *_) = graph.subgraphs
    total = 0
    in_float: list[tuple[int, Operator]] = []
    for operator in main.operators:
        if operator.type not in ROLES or operator.type not in QUANTIZABLE[dtype] or operator.index in kept:
            continue
        weights = main.input(operator, ROLES[operator.type].weights)
        if weights is None or not weights.is_constant:
            continue
        total += math.prod(weights.shape)
        if weights.is_float:
            in_float.append((math.prod(weights.shape), operator))
    left = sum(count for count, _ in in_float)
    if 2 * left <= total or not has_integer_op(graph, dtype):  # a file without integers breaks the contract anyway
        return
    _, largest = max(in_float, key=lambda pair: pair[0])
    others = [operator for place, operator in float_operators(graph) if place is main and operator is not largest]
    reason = _reason(main, largest, dtype, others)
    yield broken(
        "the file",
        f"has {left:,} of {total:,} weights in float, although their ops have {dtype} kernels, such as {largest.type}"
        f" {main.name_of(largest)!r}: {reason}",
    )


def _reason(subgraph: Subgraph, operator: Operator, dtype: str, others: Sequence[Operator]) -> str:
    """Return why the op is not of that dtype. `others` are the other ops of its subgraph that stay in float."""
    return _reason_of_type(subgraph, operator, dtype) or _reason_of_place(subgraph, operator, others)


def _reason_of_type(subgraph: Subgraph, operator: Operator, dtype: str) -> str | None:
    """Return why no op of this type is of that dtype, or None if ops of this type can be."""
    if operator.is_custom:
        return "a TensorFlow op, run by Flex" if operator.type.startswith("Flex") else "a custom op"
    if operator.type in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
        return "the converter does not quantize variables"
    first = next(iter(subgraph.read_by(operator)), None)
    if first and first.dtype in ("int32", "int64", "uint8", "bool") and operator.type == "CAST":
        return f"converts {first.dtype} to float, and {first.dtype} is no quantized dtype"
    if operator.type in FAILING[dtype]:
        return f"LiteRT has no {dtype} kernel for this op"
    if operator.type not in QUANTIZABLE[dtype]:
        return f"the quantizer knows no {dtype} version of this op"
    return None


def unquantizable_ops(graph: Graph, dtype: str) -> Counter[str]:
    """Count by type the ops of a float32 graph that stay in float in a file of that dtype because of their type."""
    from tflq.flatbuffer import float_operators

    found = float_operators(graph)
    return Counter(operator.type for subgraph, operator in found if _reason_of_type(subgraph, operator, dtype))


def _reason_of_place(subgraph: Subgraph, operator: Operator, others: Sequence[Operator]) -> str:
    """Return what about the place of the op in the graph keeps it in float."""
    if operator.type in COMPARISONS:
        return (
            "it compares with a float input of the model, a constant beyond the range of the activation, or an"
            " activation of another scale"
        )
    if subgraph.index:
        return "it is in the body of a control-flow op"
    if beside := _neighbours(operator, others):
        return f"beside {beside[0]}, which stays in float"
    if any(not _is_used(subgraph, index) for index in operator.outputs):
        return "nothing uses one of its outputs, so calibration found no range for it"
    return "the quantizer skipped it: it has no range for a tensor, or cannot make its scales equal"


def _neighbours(operator: Operator, others: Sequence[Operator]) -> list[str]:
    """Return the types of the ops that share a tensor with this op: one writes it, the other reads it."""
    return [o.type for o in others if {*o.outputs} & {*operator.inputs} or {*o.inputs} & {*operator.outputs}]


def _is_used(subgraph: Subgraph, tensor: int) -> bool:
    return tensor in subgraph.outputs or any(tensor in operator.inputs for operator in subgraph.operators)


def signature_violations(
    graph: Graph, inputs: Mapping[TensorSpec, str], outputs: Mapping[TensorSpec, str]
) -> Iterator[Violation]:
    """Yield a violation for each difference of inputs and outputs to the source.

    `inputs` and `outputs` map each spec of the source to the dtype that the file should have.
    """
    if len(graph.signatures) != 1:
        yield broken("the file", f"has {len(graph.signatures)} signatures, but should have one", "V12")
        return
    (signature,) = graph.signatures
    subgraph = graph.subgraphs[signature.subgraph]
    for side, entries, expected in (("input", signature.inputs, inputs), ("output", signature.outputs, outputs)):
        actual = {name: subgraph.tensors[index] for name, index in entries}
        if set(actual) != {spec.name for spec in expected}:
            names = ", ".join(sorted(spec.name for spec in expected))
            yield broken("the file", f"has the {side}s {', '.join(sorted(actual))}, but should have {names}", "V12")
            continue
        for spec, dtype in expected.items():
            yield from _mismatch(f"{side} {spec.name!r}", actual[spec.name], spec, dtype)


def _mismatch(where: str, tensor: Tensor, spec: TensorSpec, dtype: str) -> Iterator[Violation]:
    if tensor.dtype != dtype:
        yield broken(where, f"is {tensor.dtype}, but should be {dtype}")
    shape = tuple(None if size == -1 else size for size in tensor.shape_signature or tensor.shape)
    if spec.shape is not None and not _fits(shape, spec.shape, is_open=where.startswith("input")):
        yield broken(where, f"has the shape {brackets(shape)}, but the source has {brackets(spec.shape)}", "V12")


def _fits(actual: Shape, expected: Shape, is_open: bool) -> bool:
    """Return whether the sizes are equal. With `is_open`, sizes that the source leaves open must be open, too."""
    return len(actual) == len(expected) and all(
        size == source or (source is None and not is_open) for size, source in zip(actual, expected, strict=True)
    )


def outside_ops(graph: Graph, allow_custom_ops: bool, select_tf_ops: bool) -> Iterator[Violation]:
    """Yield a violation for each custom op or TensorFlow op that the recipe does not allow."""
    for subgraph, operator in graph.operators():
        flex = operator.type.startswith("Flex")
        if operator.is_custom and not (select_tf_ops if flex else allow_custom_ops):
            remedy = "select_tf_ops" if flex else "allow_custom_ops"
            where = f"{operator.type} {subgraph.name_of(operator)!r}"
            message = f"no runtime has this op without an extension, and converter.{remedy} is off"
            yield broken(where, message, "V12")
