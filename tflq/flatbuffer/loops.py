"""The WHILE loops of a file. Each runs a body again and again, and a condition before each iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tflq.flatbuffer import edit
from tflq.flatbuffer.graph import Graph, Operator

LOOP = "WHILE"
CONTROL_FLOW = frozenset((LOOP, "IF", "CALL_ONCE", "CALL", "STABLEHLO_WHILE"))
"""Ops that run another subgraph."""
WITH_INTERMEDIATES = frozenset(("UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM"))
"""Ops that keep activations to themselves."""


@dataclass(frozen=True)
class Loop:
    """A WHILE of the first subgraph. Its operands are carried from one iteration to the next."""

    operator: int
    """The index of the WHILE in the first subgraph."""
    condition: int
    body: int


def loops(graph: Graph) -> tuple[Loop, ...]:
    """Return the loops of the first subgraph."""
    return tuple(
        Loop(operator.index, *operator.called) for operator in graph.subgraphs[0].operators if operator.type == LOOP
    )


def loop_obstacle(graph: Graph) -> str | None:
    """Return why the loops of the file cannot be computed in integers, as a clause; None if they can."""
    found = loops(graph)
    called = [place for loop in found for place in (loop.condition, loop.body)]
    if sorted(called) != list(range(1, len(graph.subgraphs))):
        return "its subgraphs are not each the body or the condition of one WHILE"
    inside = [operator for subgraph in graph.subgraphs[1:] for operator in subgraph.operators]
    outside = [operator for operator in graph.subgraphs[0].operators if operator.type != LOOP]
    for where, operators in (("inside its WHILE", inside), ("beside its WHILE", outside)):
        for operator in operators:
            if reason := _obstacle_of(operator):
                return f"{where} stands the op {operator.type}, {reason}"
    return None


def _obstacle_of(operator: Operator) -> str | None:
    if operator.type in CONTROL_FLOW:
        return "which runs a subgraph of its own"
    if operator.type in WITH_INTERMEDIATES:
        return "which keeps its activations to itself"
    return "which is a custom op" if operator.is_custom else None


def carried(model: Any, loop: Loop) -> list[tuple[int, int, int, int]]:
    """Return the tensors of each operand: what WHILE reads and writes, and what the body reads and writes."""
    operator, body = model.subgraphs[0].operators[loop.operator], model.subgraphs[loop.body]
    operands = zip(operator.inputs, operator.outputs, body.inputs, body.outputs, strict=True)
    return [(int(given), int(result), int(before), int(after)) for given, result, before, after in operands]


def append_subgraph(model: Any, source: Any, place: int) -> None:
    """Append a subgraph of another model, with its operator codes and the contents of its buffers."""
    subgraph = source.subgraphs[place]
    numbers: dict[int, int] = {0: 0}
    for tensor in subgraph.tensors:
        if tensor.buffer not in numbers:
            numbers[tensor.buffer] = len(model.buffers)
            model.buffers.append(source.buffers[tensor.buffer])
        tensor.buffer = numbers[tensor.buffer]
    for operator in subgraph.operators:
        operator.opcodeIndex = edit.code_index(model, source.operatorCodes[operator.opcodeIndex])
    model.subgraphs.append(subgraph)
