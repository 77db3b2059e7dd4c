"""Groups of ops that are kept in float together: one op, all ops of a type, or all ops of a layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tflq.calibrate.ranges import JOINING, PASSING
from tflq.flatbuffer import Graph, Operator, float_operators
from tflq.op_dtypes import QUANTIZABLE
from tflq.op_selectors import ops, scopes

By = Literal["op", "type", "layer"]


@dataclass(frozen=True)
class Group:
    """A group of ops of the main graph, by their numbers."""

    name: str
    ops: tuple[int, ...]
    input: int | None = None
    """The input tensor of the model, if the group stands for one. Such a group has no ops, only readers."""


def groups(graph: Graph, by: By, candidates: Iterable[int]) -> tuple[Group, ...]:
    """Group the candidates by op, type or layer, in the order of the graph."""
    members: dict[str, list[int]] = {}
    names = ops(graph)
    for index in sorted(candidates):
        op = names[index]
        layer = (scopes(op) or op.tensors[-1:] or (op.type,))[-1]
        name = {"op": f"#{index}", "type": op.type, "layer": layer}[by]
        members.setdefault(name, []).append(index)
    return tuple(Group(name, tuple(indices)) for name, indices in members.items())


def inputs(graph: Graph) -> tuple[Group, ...]:
    """Return a group for each float input of the model."""
    (subgraph, *_) = graph.subgraphs
    names = {index: name for signature in graph.signatures[:1] for name, index in signature.inputs}
    return tuple(
        Group(f"input {names.get(index, '')}".strip(), (), index)
        for index in subgraph.inputs
        if subgraph.tensors[index].is_float
    )


def quantizable(graph: Graph, dtype: str) -> frozenset[int]:
    """Return the float ops of the main graph that the quantizer can quantize. `dtype`: that of the activations."""
    return frozenset(
        operator.index
        for subgraph, operator in float_operators(graph)
        if subgraph.index == 0 and operator.type in QUANTIZABLE[dtype]
    )


def readers(graph: Graph, group: Group, leaky: Collection[int]) -> frozenset[int]:
    """Return the ops that must be in float too, so that the outputs of the group are never quantized.

    These are the ops that read the outputs. The ops behind a reader belong to them too if the reader passes the range
    on or is in `leaky`.
    """
    (subgraph, *_) = graph.subgraphs
    by_tensor: dict[int, list[Operator]] = {}
    for operator in subgraph.operators:
        for index in operator.inputs:
            by_tensor.setdefault(index, []).append(operator)
    outputs = {index for op in group.ops for index in subgraph.operators[op].outputs}
    outputs |= set() if group.input is None else {group.input}
    return frozenset(_behind(by_tensor, outputs, leaky)) - {*group.ops}


def _behind(by_tensor: Mapping[int, list[Operator]], outputs: set[int], leaky: Collection[int]) -> Iterator[int]:
    waiting, visited = sorted(outputs), set[int]()
    while waiting:
        for operator in by_tensor.get(waiting.pop(), ()):
            if operator.index not in visited:
                visited.add(operator.index)
                yield operator.index
                if operator.type in PASSING or operator.type in JOINING or operator.index in leaky:
                    waiting += operator.outputs
