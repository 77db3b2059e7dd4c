"""The ops of a float32 file as keep_float can name them, for `tflq ops`: as data for JSON, and as a table."""

from __future__ import annotations

import json
import os.path
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from tflq.flatbuffer import Graph, Operator, Subgraph
from tflq.op_selectors import Op, ops, scopes

HEADER = ("#", "type", "shape", "bytes", "layer", "tensor")
RIGHT = ("#", "bytes")


@dataclass(frozen=True)
class OpRow:
    index: int
    type: str
    shape: tuple[int, ...]
    """Of its first output; -1 where the size may change."""
    size_bytes: int
    """Of its parameters, those that it shares with others included."""
    scopes: tuple[str, ...]
    tensors: tuple[str, ...]


def rows(graph: Graph) -> Iterator[OpRow]:
    (subgraph, *_) = graph.subgraphs
    for op, operator in zip(ops(graph), subgraph.operators, strict=True):
        yield _row(op, subgraph, operator)


def _row(op: Op, subgraph: Subgraph, operator: Operator) -> OpRow:
    written = subgraph.written_by(operator)
    constants = {tensor.index: tensor.size_bytes for tensor in subgraph.read_by(operator) if tensor.is_constant}
    shape = (written[0].shape_signature or written[0].shape) if written else ()
    return OpRow(op.index, op.type, shape, sum(constants.values()), scopes(op), op.tensors)


def to_json(graph: Graph) -> str:
    return json.dumps([asdict(row) for row in rows(graph)], indent=2, ensure_ascii=False)


def to_text(graph: Graph) -> str:
    """A line an op, in columns; what is longest comes last, and is never cut."""
    listed = list(rows(graph))
    around = os.path.commonpath([scope for row in listed for scope in row.scopes] or [""])
    cells = [HEADER, *[_cells(row, around) for row in listed]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER) - 1)]
    return "\n".join(_line(line, widths) for line in cells)


def _cells(row: OpRow, around: str) -> tuple[str, ...]:
    """Without the scope that is around all, such as the model's own name."""
    shape = "×".join("?" if size == -1 else str(size) for size in row.shape)
    size = f"{row.size_bytes:,}" if row.size_bytes else ""
    layers = [scope.removeprefix(around).strip("/") for scope in row.scopes]
    return (f"#{row.index}", row.type, shape, size, ", ".join(filter(None, layers)) or "-", ", ".join(row.tensors))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if name in RIGHT else cell.ljust(width)
        for name, cell, width in zip(HEADER, cells, widths, strict=False)
    ]
    return "  ".join([*padded, cells[-1]]).rstrip()
