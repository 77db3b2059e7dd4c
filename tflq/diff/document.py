"""DiffResult → paragraphs and tables, which Markdown and HTML render."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tflq.batch.summary import VariantRow
from tflq.diff.constant_change import ConstantChange
from tflq.diff.file_diff import FileDiff
from tflq.diff.graph_diff import GraphDiff
from tflq.diff.operator_change import OperatorChange
from tflq.diff.outputs import OutputsDiff
from tflq.diff.run import DiffResult, PairDiff
from tflq.diff.verdict import arrow, pair_verdict, verdict
from tflq.errors import TflqError
from tflq.report import fidelity
from tflq.report.table import shortened, size

MAX_ROWS = 20
"""The largest number of rows of a table. The JSON has all of them."""

MAX_NAME = 60
"""The largest length of a name in a table, in characters."""

RESCALED_DB = 10.0
"""Below this SQNR, a constant has little in common with that of the other file."""
RESCALED = (
    "A low SQNR of constants is no loss by itself. Equalization, for example, rescales the channels of two layers, and"
    " the outputs stay the same. With --recipe, the outputs are compared."
)


@dataclass(frozen=True)
class TableBlock:
    """A table. `names` are the columns that hold names of tensors, which can be anything."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: tuple[int, ...] = ()
    omitted: int = 0
    """The number of rows that are left out."""


Block = str | TableBlock
"""A paragraph or a table."""


@dataclass(frozen=True)
class Section:
    """The comparison of one variant."""

    title: str
    verdict: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """The verdict in one line, then what was compared and what differs. Two files have no sections."""

    verdict: str
    blocks: tuple[Block, ...]
    sections: tuple[Section, ...]


def short_name(name: str) -> str:
    """Return the first name of an op that was fused from several, in at most MAX_NAME characters."""
    first, is_fused, _ = name.partition(";")
    return f"{shortened(first, MAX_NAME)}{';…' if is_fused else ''}"


def document(result: DiffResult) -> Document:
    """Return the text and the tables of only what differs."""
    sections: tuple[Section, ...] = ()
    if result.are_folders:
        sections = tuple(Section(pair.name, pair_verdict(pair), tuple(_pair(pair))) for pair in result.pairs)
    return Document(verdict(result), tuple(_blocks(result)), sections)


def _blocks(result: DiffResult) -> Iterator[Block]:
    yield f"A is {result.before}; B is {result.after}."
    if not result.are_folders:
        (pair,) = result.pairs
        yield from _pair(pair)
        return
    yield _overview(result.pairs)
    if result.settings:
        rows = [(each.name, each.before, each.after) for each in result.settings]
        yield _table("Recipe and versions", ("key", "A", "B"), rows)


def _table(
    title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]], names: tuple[int, ...] = ()
) -> TableBlock:
    return TableBlock(title, header, tuple(rows[:MAX_ROWS]), names, max(0, len(rows) - MAX_ROWS))


def _overview(pairs: Sequence[PairDiff]) -> TableBlock:
    rows = [_overview_row(pair) for pair in pairs]
    header = ("variant", "size", "metric", "SQNR dB", "ms", "verdict")
    kept = [i for i, name in enumerate(header) if i == 0 or any(row[i] for row in rows)]
    return TableBlock(
        "Variants, as the reports of both folders say",
        tuple(header[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in rows),
    )


def _overview_row(pair: PairDiff) -> tuple[str, ...]:
    sides = [_reported(row) for row in pair.reported]
    if isinstance(pair.diff, FileDiff):
        for side, each in zip(sides, (pair.diff.before, pair.diff.after), strict=True):
            side[0] = size(each.file.size_bytes)
    cells = [arrow(*both) if any(both) else "" for both in zip(*sides, strict=True)]
    return (pair.name, *cells)


def _reported(row: VariantRow | None) -> list[str]:
    if row is None:
        return ["none", "", "", "", ""]
    sqnr = f"{row.sqnr_db:.1f}" if row.sqnr_db is not None else "equal" if row.is_measured else ""
    return [
        size(row.size_bytes) if row.size_bytes is not None else "none",
        f"{row.value:.4f}" if row.value is not None else "",
        sqnr,
        f"{row.latency_ms:.3f}" if row.latency_ms is not None else "",
        row.status,
    ]


def _pair(pair: PairDiff) -> Iterator[Block]:
    if not isinstance(pair.diff, FileDiff):
        return
    diff = pair.diff
    if diff.gates:
        rows = [
            (gate.name, f"{gate.bar:g}", _measured(gate.measured), "yes" if gate.passed else "no")
            for gate in diff.gates
        ]
        yield _table("Gates", ("gate", "limit", "measured", "passed"), rows)
    yield from _outputs(diff)
    if diff.are_identical:
        return
    yield from _graph(diff)
    yield from _bytes(diff)
    yield from _tensors(diff.graph)


def _measured(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.6g}"


def _outputs(diff: FileDiff) -> Iterator[Block]:
    if isinstance(diff.outputs, TflqError):
        yield f"The outputs cannot be compared: {diff.outputs}."
    if not isinstance(diff.outputs, OutputsDiff):
        return
    outputs = diff.outputs
    for side, count in (("A", outputs.not_finite_before), ("B", outputs.not_finite_after)):
        if count:
            yield f"{side} outputs NaN or infinity on {count} of {outputs.figures.samples} samples."
    score = outputs.figures.metric
    if score and score.samples_needed:
        yield (
            f"The 95 % interval of the change of {score.name} includes the limit, so it is not certain; about"
            f" {score.samples_needed:,} samples would be needed."
        )
    rows = [(name, *fidelity.cells(output)) for name, output in outputs.figures.fidelity.items()]
    header = ("output", "SQNR dB", "cosine", "largest difference", "PSNR dB", "same top class")
    shown = fidelity.filled(header, rows)
    title = f"Outputs of B against A on {outputs.figures.samples:,} samples of {outputs.dataset}"
    yield _table(title, shown.header, shown.rows, names=(0,))


def _graph(diff: FileDiff) -> Iterator[Block]:
    graph = diff.graph
    if graph.ports:
        rows = [(port.side, port.name, port.before or "none", port.after or "none") for port in graph.ports]
        yield _table("Inputs and outputs", ("side", "name", "A", "B"), rows, names=(1,))
    if graph.operators:
        yield _table("Ops that changed", ("type", "ops", "change", "output"), _grouped(graph.operators), names=(3,))
    present = Counter((side, op.type) for side, ops in (("B", graph.added), ("A", graph.removed)) for op in ops)
    if present:
        first = {
            (side, op.type): op.tensor for side, ops in (("A", graph.removed), ("B", graph.added)) for op in ops[::-1]
        }
        rows = [(f"only in {side}", str(count), type_, first[side, type_]) for (side, type_), count in present.items()]
        yield _table("Ops that only one file has", ("file", "ops", "type", "first output"), rows, names=(3,))


def _grouped(changes: Sequence[OperatorChange]) -> list[tuple[str, ...]]:
    """Return a row for each type and set of changes, with the number of ops and the output of the first one."""
    groups: dict[tuple[str, str], list[OperatorChange]] = {}
    for change in changes:
        groups.setdefault((change.type, "; ".join(map(str, change.changes))), []).append(change)
    return [(type_, str(len(ops)), text, ops[0].tensor) for (type_, text), ops in groups.items()]


def _bytes(diff: FileDiff) -> Iterator[Block]:
    rows = [
        (
            each.type,
            arrow(str(each.count_before), str(each.count_after)),
            size(each.bytes_before),
            size(each.bytes_after),
            _signed(each.bytes_after - each.bytes_before),
        )
        for each in diff.graph.op_bytes
        if each.is_changed
    ]
    others = [
        each.file.size_bytes - sum(op_bytes)
        for each, op_bytes in (
            (diff.before, [entry.bytes_before for entry in diff.graph.op_bytes]),
            (diff.after, [entry.bytes_after for entry in diff.graph.op_bytes]),
        )
    ]
    sizes = (diff.before.file.size_bytes, diff.after.file.size_bytes)
    for name, (before, after) in (("structure and names", others), ("whole file", sizes)):
        if before != after:
            rows.append((name, "", size(before), size(after), _signed(after - before)))
    if rows:
        yield _table("Bytes by op", ("op", "ops", "A", "B", "change"), rows)
    if diff.before.runtime != diff.after.runtime:
        both = arrow(diff.before.runtime or "unknown", diff.after.runtime or "unknown")
        yield f"Oldest TensorFlow Lite that has all ops: {both}."


def _signed(count: int) -> str:
    return f"{'+' if count > 0 else '−'}{size(abs(count))}" if count else ""


def _tensors(graph: GraphDiff) -> Iterator[Block]:
    if graph.scales:
        rows = [
            (
                each.tensor,
                each.op,
                each.dtype,
                arrow(f"{each.scale_before:.6g}", f"{each.scale_after:.6g}"),
                f"{each.ratio:.4g}",
                arrow(str(each.zero_point_before), str(each.zero_point_after)),
            )
            for each in graph.scales
        ]
        header = ("activation", "op", "dtype", "scale", "B / A", "zero point")
        yield _table("Scales and zero points", header, rows, names=(0,))
    changed = [change for change in graph.constants if change.has_other_values]
    if changed:
        header = ("constant", "read by", "stored as", "SQNR dB", "largest difference", "values that differ")
        yield _table("Constants", header, [_constant(change) for change in changed], names=(0,))
        if any(change.sqnr_db is not None and change.sqnr_db < RESCALED_DB for change in changed):
            yield RESCALED
    if graph.renamed:
        yield f"Activations with another name: {len(graph.renamed):,}."


def _constant(change: ConstantChange) -> tuple[str, ...]:
    stored = arrow(change.before or "none", change.after or "none")
    if change.values:
        return change.tensor, change.op, stored, "", change.values, ""
    if change.sqnr_db is None or change.max_abs_difference is None:
        return change.tensor, change.op, stored, "", "", ""
    difference = f"{change.max_abs_difference:.4g} of {change.peak:.4g}"
    return change.tensor, change.op, stored, f"{change.sqnr_db:.1f}", difference, f"{change.changed:.1%}"
