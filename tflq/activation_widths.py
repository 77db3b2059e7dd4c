"""The contract of files that mix 8-bit and 16-bit activations: which ops have which."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tflq.contract import ADAPTORS, broken

if TYPE_CHECKING:  # modes are read with a recipe, but then no .tflite file is read
    from tflq.flatbuffer import Graph, Operator, Subgraph
    from tflq.rules.violation import Violation


@dataclass(frozen=True)
class Int16Op:
    """An op with 16-bit activations, with the name of the tensor that it writes."""

    type: str
    tensor: str


def int16_ops(graph: Graph) -> Iterator[Int16Op]:
    """Yield every op with 16-bit activations. Ops that only convert are left out."""
    for subgraph, operator in graph.operators():
        if "int16" in _widths(subgraph, operator):
            yield Int16Op(operator.type, subgraph.name_of(operator))


def wrong_widths(graph: Graph, named: Collection[int]) -> Iterator[Violation]:
    """Yield a violation for each op of the wrong width. `named` holds the ops of the main graph with 16 bits."""
    for subgraph, operator in graph.operators():
        widths = _widths(subgraph, operator)
        where = f"{operator.type} {subgraph.name_of(operator)!r}"
        is_named = subgraph.index == 0 and operator.index in named
        if is_named and widths != {"int16"}:
            yield broken(where, f"computes in {' and '.join(sorted(widths)) or 'float'}, though keep_int16 names it")
        elif not is_named and "int16" in widths:
            yield broken(where, "computes in 16 bits, though keep_int16 does not name it")


def _widths(subgraph: Subgraph, operator: Operator) -> set[str]:
    """Return the dtypes of the activations that the op computes with. A recurrent op keeps wider states."""
    if operator.type in ADAPTORS:
        return set()
    tensors = (*subgraph.read_by(operator), *subgraph.written_by(operator))
    values = [tensor for tensor in tensors if not tensor.is_constant and not tensor.is_variable]
    return {tensor.dtype for tensor in values if tensor.is_float or tensor.quantization}
