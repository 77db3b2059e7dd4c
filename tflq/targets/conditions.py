"""The conditions of a target that an op breaks, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph, Tensor
from tflq.targets.schema import OpRule, OptionLimit, Target

MAX_NAME = 40
"""The number of characters of a tensor's name that a reason shows."""
_NAMED = {
    "fused_activation_function": ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT"),
    "padding": ("SAME", "VALID"),
}
"""The names of the values of options."""


def broken_by(graph: Graph, subgraph: Subgraph, operator: Operator, target: Target) -> Iterator[str]:
    """Yield the conditions on shapes and storage that the op breaks: those of the target, whatever the op."""
    used = (*subgraph.read_by(operator), *subgraph.written_by(operator))
    for tensor in used:
        name, inner = short(tensor.name), target.inner_dimensions
        if _is_too_open(tensor, target):
            which = "only the first size" if target.open_sizes == "first" else "no size"
            yield f"the shape of {name!r} is {_brackets(tensor)}, and {which} may change"
        outer = tensor.shape[:-inner] if inner and not tensor.is_constant else ()
        if any(size > 1 for size in outer):
            yield f"{name!r} has the shape {list(tensor.shape)}, and only the last {inner} sizes may be larger than 1"
        if target.inline_constants and tensor.buffer in graph.outside_buffers:
            yield (
                f"the constant {name!r} is stored behind the flatbuffer, where this runtime does not look: it would"
                " take other values without a word"
            )


def broken_rule(subgraph: Subgraph, operator: Operator, rule: OpRule, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the conditions of the rule that the op breaks."""
    decisive = subgraph.input(operator, rule.input)
    if rule.types is not None and decisive is not None and decisive.dtype not in rule.types:
        yield f"its input is {decisive.dtype}, and this op has {_listed(rule.types)} only"
    elif decisive is not None:
        yield from _weights(subgraph, operator, rule, decisive)
    if rule.max_version is not None and operator.version > rule.max_version:
        yield f"it has version {operator.version}, and the newest known is {rule.max_version}"
    used = (*subgraph.read_by(operator), *subgraph.written_by(operator))
    deepest = max((len(tensor.shape) for tensor in used), default=0)
    if rule.max_rank is not None and deepest > rule.max_rank:
        yield f"a tensor has {deepest} dimensions, and {rule.max_rank} is the most"
    for position in rule.constant:
        tensor = subgraph.input(operator, position)
        if tensor is not None and not tensor.is_constant:
            yield f"its input {position}, {short(tensor.name)!r}, is computed, and must be a constant"
    yield from _scales(subgraph, operator, rule)
    for name, limit in rule.options.items():
        yield from _option(name, limit, options)


def _weights(subgraph: Subgraph, operator: Operator, rule: OpRule, decisive: Tensor) -> Iterator[str]:
    allowed = rule.weights.get(decisive.dtype)
    roles = ROLES.get(operator.type)
    tensor = subgraph.input(operator, roles.weights) if roles else None
    if allowed is not None and tensor is not None and tensor.dtype not in allowed:
        yield f"its weights are {tensor.dtype} beside {decisive.dtype}, and must be {_listed(allowed)}"


def _scales(subgraph: Subgraph, operator: Operator, rule: OpRule) -> Iterator[str]:
    for tensor in () if rule.per_channel else (*subgraph.read_by(operator), *subgraph.written_by(operator)):
        if tensor.quantization and tensor.quantization.is_per_axis:
            yield f"{short(tensor.name)!r} has a scale for each channel, and this op uses one for all"
    written = [tensor.quantization for tensor in subgraph.written_by(operator) if tensor.quantization]
    for tensor in subgraph.read_by(operator) if rule.same_scales and written else ():
        if tensor.quantization and tensor.quantization != written[0]:
            yield f"{short(tensor.name)!r} has another scale than the output"


def _option(name: str, limit: OptionLimit, options: Mapping[str, Any]) -> Iterator[str]:
    value = options.get(name)
    if value is None or not isinstance(value, int):
        return
    fits = (
        (limit.one_of is None or value in limit.one_of)
        and (limit.min is None or value >= limit.min)
        and (limit.max is None or value <= limit.max)
        and (limit.same_as is None or value == options.get(limit.same_as))
    )
    if not fits:
        names = _NAMED.get(name, ())
        shown = names[value] if value < len(names) else value
        yield f"{name} is {shown}{': ' + limit.reason if limit.reason else ''}"


def _listed(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _is_too_open(tensor: Tensor, target: Target) -> bool:
    """Return whether a size of the tensor may change that must not. A target that takes sizes as 1 has its own note."""
    if target.open_sizes in ("any", "as 1"):
        return False
    sizes = tensor.shape_signature[1 if target.open_sizes == "first" else 0 :]
    return -1 in sizes or not tensor.has_rank


def short(name: str) -> str:
    """Return the name, or the start of its first part if it is long. Fused ops have the names of their parts."""
    first = name.split(";")[0]
    return first if len(first) <= MAX_NAME else f"…{first[-MAX_NAME:]}"


def _brackets(tensor: Tensor) -> str:
    return f"[{', '.join('?' if size == -1 else str(size) for size in tensor.shape_signature)}]"
