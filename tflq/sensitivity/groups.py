"""What is kept in float, or quantized, together: an op, all of a type, all of a layer; and what reads its output."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tflq.calibrate import JOINING, PASSING
from tflq.contract import QUANTIZABLE
from tflq.flatbuffer import Graph, Operator, float_operators
from tflq.op_selectors import ops, scopes

By = Literal["op", "type", "layer"]


@dataclass(frozen=True)
class Group:
    """Ops of the main graph by their numbers, and what people call them."""

    name: str
    ops: tuple[int, ...]
    input: int | None = None
    """The tensor of the group that stands for an input of the model: it has no ops, only readers."""


def groups(graph: Graph, by: By, candidates: Iterable[int]) -> tuple[Group, ...]:
    """The candidates, in the order of the graph."""
    found: dict[str, list[int]] = {}
    named = ops(graph)
    for index in sorted(candidates):
        op = named[index]
        layer = (scopes(op) or op.tensors[-1:] or (op.type,))[-1]
        name = {"op": f"#{index}", "type": op.type, "layer": layer}[by]
        found.setdefault(name, []).append(index)
    return tuple(Group(name, tuple(indices)) for name, indices in found.items())


def inputs(graph: Graph) -> tuple[Group, ...]:
    """A group for each float input of the model."""
    (subgraph, *_) = graph.subgraphs
    names = {index: name for signature in graph.signatures[:1] for name, index in signature.inputs}
    return tuple(
        Group(f"input {names.get(index, '')}".strip(), (), index)
        for index in subgraph.inputs
        if subgraph.tensors[index].is_float
    )


def quantizable(graph: Graph, dtype: str) -> frozenset[int]:
    """Ops of the main graph that compute in float, and that the quantizer would make integers of."""
    return frozenset(
        operator.index
        for subgraph, operator in float_operators(graph)
        if subgraph.index == 0 and operator.type in QUANTIZABLE[dtype]
    )


def readers(graph: Graph, group: Group, leaky: Collection[int]) -> frozenset[int]:
    """The ops that read what the group makes, so that it is whole where all of them are in float.

    Those behind a reader too that passes its range on, or whose own output is as bad, as `leaky` tells.
    """
    (subgraph, *_) = graph.subgraphs
    by_tensor: dict[int, list[Operator]] = {}
    for operator in subgraph.operators:
        for index in operator.inputs:
            by_tensor.setdefault(index, []).append(operator)
    made = {index for op in group.ops for index in subgraph.operators[op].outputs}
    made |= set() if group.input is None else {group.input}
    return frozenset(_behind(by_tensor, made, leaky)) - {*group.ops}


def _behind(by_tensor: Mapping[int, list[Operator]], made: set[int], leaky: Collection[int]) -> Iterator[int]:
    waiting, seen = sorted(made), set[int]()
    while waiting:
        for operator in by_tensor.get(waiting.pop(), ()):
            if operator.index not in seen:
                seen.add(operator.index)
                yield operator.index
                if operator.type in PASSING or operator.type in JOINING or operator.index in leaky:
                    waiting += operator.outputs
