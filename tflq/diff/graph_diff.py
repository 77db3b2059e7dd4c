"""The differences of two graphs: ops, scales, constants, inputs and outputs, bytes by op."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tflq.diff.constant_change import ConstantChange, constant_changes
from tflq.diff.matching import match_operators
from tflq.diff.operator_change import OperatorChange, PresentOperator, operator_changes, present_operator
from tflq.diff.tensor_change import PortChange, ScaleChange, port_changes, renamed_activations, scale_changes
from tflq.flatbuffer import Graph, Options, operator_counts

GraphOptions = Sequence[Sequence[Options]]
"""The options of each op of each subgraph."""


@dataclass(frozen=True)
class OpBytes:
    """The number of ops of one type, and the bytes of their constants, in both files."""

    type: str
    count_before: int
    count_after: int
    bytes_before: int
    bytes_after: int

    @property
    def is_changed(self) -> bool:
        return (self.count_before, self.bytes_before) != (self.count_after, self.bytes_after)


@dataclass(frozen=True)
class GraphDiff:
    """Everything that differs between two graphs. A list is empty if nothing of its kind differs."""

    ports: tuple[PortChange, ...]
    operators: tuple[OperatorChange, ...]
    removed: tuple[PresentOperator, ...]
    """The ops that only the first file has."""
    added: tuple[PresentOperator, ...]
    scales: tuple[ScaleChange, ...]
    """The largest change of a scale first."""
    constants: tuple[ConstantChange, ...]
    """The largest change of values first."""
    renamed: tuple[tuple[str, str], ...]
    """Both names of each activation that has another name."""
    op_bytes: tuple[OpBytes, ...]
    """All types of ops, the largest change of bytes first."""

    @property
    def changed_ops(self) -> int:
        """The number of ops that differ, or that only one file has."""
        return len(self.operators) + len(self.removed) + len(self.added)

    @property
    def changed_constants(self) -> int:
        """The number of constants whose real values differ."""
        return sum(change.has_other_values for change in self.constants)


def compare_graphs(before: Graph, after: Graph, options: tuple[GraphOptions, GraphOptions]) -> GraphDiff:
    """Return the differences. The subgraphs are matched by their order."""
    matches = [match_operators(one, other) for one, other in zip(before.subgraphs, after.subgraphs, strict=False)]
    surplus = [graph.subgraphs[len(matches) :] for graph in (before, after)]
    removed, added = (
        tuple(present_operator(subgraph, operator) for subgraph in subgraphs for operator in subgraph.operators)
        for subgraphs in surplus
    )
    scales = (change for match in matches for change in scale_changes(match))
    constants = (change for match in matches for change in constant_changes(match))
    return GraphDiff(
        ports=tuple(port_changes(before, after)),
        operators=tuple(
            change
            for match in matches
            for change in operator_changes(match, (options[0][match.before.index], options[1][match.after.index]))
        ),
        removed=(*(present_operator(each.before, op) for each in matches for op in each.removed), *removed),
        added=(*(present_operator(each.after, op) for each in matches for op in each.added), *added),
        scales=tuple(sorted(scales, key=lambda change: change.rank)),
        constants=tuple(sorted(constants, key=lambda change: change.rank)),
        renamed=tuple(pair for match in matches for pair in renamed_activations(match)),
        op_bytes=tuple(_op_bytes(before, after)),
    )


def _op_bytes(before: Graph, after: Graph) -> Iterator[OpBytes]:
    counts: list[Counter[str]] = [Counter(), Counter()]
    sizes: list[Counter[str]] = [Counter(), Counter()]
    for side, graph in enumerate((before, after)):
        for entry in operator_counts(graph):
            counts[side][entry.kind.type] += entry.count
            sizes[side][entry.kind.type] += entry.size_bytes
    types = {*counts[0], *counts[1]}
    for type_ in sorted(types, key=lambda name: (-abs(sizes[1][name] - sizes[0][name]), name)):
        yield OpBytes(type_, counts[0][type_], counts[1][type_], sizes[0][type_], sizes[1][type_])
