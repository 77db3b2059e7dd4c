"""The ops of a float32 file that recipes can name, for `tflq ops`: as data for JSON, and as a table."""

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
    """An op of the float32 file."""

    index: int
    """The number of the op in its subgraph."""
    type: str
    shape: tuple[int, ...]
    """The shape of the first output; a size is -1 if it may change."""
    size_bytes: int
    """The size of its parameters, including the parameters that it shares with other ops."""
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
    """Return one line per op, in columns. The longest column comes last, and no column is cut."""
    op_rows = list(rows(graph))
    common_scope = os.path.commonpath([scope for row in op_rows for scope in row.scopes] or [""])
    cells = [HEADER, *[_cells(row, common_scope) for row in op_rows]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER) - 1)]
    return "\n".join(_line(line, widths) for line in cells)


def _cells(row: OpRow, common_scope: str) -> tuple[str, ...]:
    """Leave out the scope that all ops share, such as the name of the model."""
    shape = "×".join("?" if size == -1 else str(size) for size in row.shape)
    size = f"{row.size_bytes:,}" if row.size_bytes else ""
    layers = [scope.removeprefix(common_scope).strip("/") for scope in row.scopes]
    return (f"#{row.index}", row.type, shape, size, ", ".join(filter(None, layers)) or "-", ", ".join(row.tensors))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if name in RIGHT else cell.ljust(width)
        for name, cell, width in zip(HEADER, cells, widths, strict=False)
    ]
    return "  ".join([*padded, cells[-1]]).rstrip()
