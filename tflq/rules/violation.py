"""Violations, which a rule yields, and the places in a graph that rules check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tflq.flatbuffer import Graph, Operator, Quantization, Subgraph, Tensor
from tflq.rules.effect import Effect, Severity


@dataclass(frozen=True)
class Violation:
    """A broken rule. `where` is the type of an operator and the name of a tensor."""

    rule: str
    where: str
    message: str
    severity: Severity
    runtimes: str = ""
    """The runtimes that suffer, and how they do; empty if the message says it."""


Rule = Callable[[Graph], Iterator[Violation]]


@dataclass(frozen=True)
class Place:
    """A tensor, with an operator that writes or reads it."""

    subgraph: Subgraph
    operator: Operator
    tensor: Tensor

    @property
    def quantization(self) -> Quantization:
        """The quantization of the tensor. It has no scales if the tensor is not quantized."""
        return self.tensor.quantization or Quantization((), ())

    def breaks(self, effect: Effect, message: str) -> Violation:
        """Return a violation with that effect at this place."""
        inside = f" in {self.subgraph.name or self.subgraph.index}" if self.subgraph.index else ""
        where = f"{self.operator.type} {self.tensor.name!r}{inside}"
        return Violation(effect.rule, where, message, effect.severity, effect.runtimes)


def places(graph: Graph) -> Iterator[Place]:
    """Yield every tensor that an operator uses once: with its writer, or else with its first reader."""
    for subgraph in graph.subgraphs:
        first: dict[int, Operator] = {}
        for operator in subgraph.operators:
            first.update(dict.fromkeys(operator.outputs, operator))
        for operator in subgraph.operators:
            for tensor in subgraph.read_by(operator):
                first.setdefault(tensor.index, operator)
        for index, operator in first.items():
            yield Place(subgraph, operator, subgraph.tensors[index])
