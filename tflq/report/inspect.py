"""The contents of a .tflite file, for `tflq inspect`: as data for JSON, and as tables for a terminal."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from tflq.firmware.io_row import IoRow, code_lines, io_rows
from tflq.firmware.runtime_needs import runtime_needs
from tflq.flatbuffer import (
    CONVERSIONS,
    Graph,
    OperatorCount,
    Signature,
    Tensor,
    float_operators,
    operator_counts,
    size_by_dtype,
)
from tflq.rules.rule_list import violations

FORMULA = "real = (q - zero_point) * scale"
_COMPUTED_DTYPES = ("float32", "float16", "int8", "int16", "uint8")
_MIN_SHARE = 0.005
"""An op with a smaller share of the file's size shows no share."""
_FOLDED_COLUMNS = ("", "name", "in", "out")
_RIGHT_COLUMNS = ("version", "count", "size", "%", "scale", "zero point")


@dataclass(frozen=True)
class _Port:
    """An input or output of a signature; a size of `shape` is -1 if it may change."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None


def to_dict(graph: Graph) -> dict[str, Any]:
    """Return all facts about the file, for JSON; sizes are in bytes."""
    return {
        "size_bytes": graph.size_bytes,
        "size_by_dtype": dict(size_by_dtype(graph)),
        "activations": _activations(graph),
        "weights": _weights(graph),
        "minimum_runtime_version": graph.minimum_runtime_version,
        "description": graph.description,
        "signatures": [
            {
                "key": signature.key,
                "inputs": [asdict(port) for port in _ports(graph, signature, signature.inputs)],
                "outputs": [asdict(port) for port in _ports(graph, signature, signature.outputs)],
                "io": [asdict(row) for row in io_rows(graph, signature)],
            }
            for signature in _signatures(graph)
        ],
        "formula": FORMULA,
        "operators": [
            asdict(entry.kind) | {"count": entry.count, "size_bytes": entry.size_bytes} for entry in _operators(graph)
        ],
        "float_ops": [{"type": type_, "tensor": tensor} for type_, tensor in _float_ops(graph)],
        "subgraphs": [subgraph.name for subgraph in graph.subgraphs],
        "metadata": {entry.name: len(entry.data) for entry in graph.metadata},
        "violations": [asdict(violation) for violation in violations(graph)],
    }


def to_json(graph: Graph) -> str:
    return json.dumps(to_dict(graph), indent=2, ensure_ascii=False, allow_nan=False)


def to_text(graph: Graph, width: int = 80) -> str:
    """Return the facts for people, the most important first. `width` is in columns and should be 80 or more."""
    signatures = [
        part
        for signature in _signatures(graph)
        for part in (_signature_table(graph, signature), _how_to_call(graph, signature))
    ]
    parts: list[Table | Text] = [
        _headline(graph),
        *signatures,
        _operator_table(graph),
        _file_table(graph),
        _verdict(graph),
    ]
    return "\n\n".join(_rendered(part, width) for part in parts)


def _rendered(part: Table | Text, width: int) -> str:
    console = Console(width=width, color_system=None, force_terminal=False, file=io.StringIO())
    with console.capture() as capture:
        console.print(part, highlight=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _signatures(graph: Graph) -> tuple[Signature, ...]:
    """Return the signatures of the file; if it has none, the first subgraph with the names of its tensors."""
    if graph.signatures or not graph.subgraphs:
        return graph.signatures
    first = graph.subgraphs[0]
    inputs, outputs = (
        tuple((first.tensors[index].name, index) for index in ends) for ends in (first.inputs, first.outputs)
    )
    return (Signature("", 0, inputs, outputs),)


def _ports(graph: Graph, signature: Signature, entries: tuple[tuple[str, int], ...]) -> Iterator[_Port]:
    for name, index in entries:
        yield _port(name, graph.subgraphs[signature.subgraph].tensors[index])


def _port(name: str, tensor: Tensor) -> _Port:
    scales = [scale for scale in tensor.quantization.scales if math.isfinite(scale)] if tensor.quantization else []
    zero_points = tensor.quantization.zero_points if tensor.quantization else ()
    return _Port(
        name,
        tensor.dtype,
        tensor.shape_signature,
        scales[0] if scales else None,
        zero_points[0] if zero_points else None,
    )


def _operators(graph: Graph) -> list[OperatorCount]:
    """Return the operators by share of the size, then by count, then by type."""

    def rank(entry: OperatorCount) -> tuple[float, int, str]:
        share = entry.size_bytes / graph.size_bytes
        return -share if share >= _MIN_SHARE else 0, -entry.count, entry.kind.type

    return sorted(operator_counts(graph), key=rank)


def _float_ops(graph: Graph) -> Iterator[tuple[str, str]]:
    for subgraph, operator in float_operators(graph):
        yield operator.type, next((tensor.name for tensor in subgraph.written_by(operator)), "")


def _activations(graph: Graph) -> str | None:
    """Return the dtype that most operators compute in; None if there is none."""
    counts: Counter[str] = Counter()
    for entry in operator_counts(graph):
        if entry.kind.type not in CONVERSIONS:
            counts.update({dtype: entry.count for dtype in entry.kind.outputs if dtype in _COMPUTED_DTYPES})
    return counts.most_common(1)[0][0] if counts else None


def _weights(graph: Graph) -> str | None:
    """Return the dtype in which most bytes of weights are stored; None if there are no weights."""
    sizes: Counter[str] = Counter()
    for entry in operator_counts(graph):
        if entry.kind.weights:
            sizes[entry.kind.weights] += entry.size_bytes
    return sizes.most_common(1)[0][0] if sizes else None


def _headline(graph: Graph) -> Text:
    activations, weights = _activations(graph), _weights(graph)
    inside = f" in {len(graph.subgraphs)} subgraphs" if len(graph.subgraphs) > 1 else ""
    facts = [_size(graph.size_bytes), f"{sum(1 for _ in graph.operators())} operators{inside}"]
    facts += [f"{activations} activations"] if activations else []
    facts += [f"{weights} weights"] if weights else []
    float_types = Counter(type_ for type_, _ in _float_ops(graph))
    if not float_types or activations in ("float32", "float16"):
        return Text(", ".join(facts))
    types = ", ".join(f"{count} {type_}" for type_, count in float_types.most_common())
    return Text(f"{', '.join(facts)}\nleft in float: {types}")


def _signature_table(graph: Graph, signature: Signature) -> Table:
    title = (
        f"signature {signature.key}" if signature.key else "no signature; inputs and outputs are named by their tensors"
    )
    inputs, outputs = (list(_ports(graph, signature, ends)) for ends in (signature.inputs, signature.outputs))
    is_quantized = any(port.scale is not None for port in inputs + outputs)
    table = _table(title, ("", "name", "dtype", "shape", *(("scale", "zero point") if is_quantized else ())))
    table.caption = f"{FORMULA}; q is in the file" if is_quantized else None
    for side, ports in (("in", inputs), ("out", outputs)):
        for port in ports:
            integers = () if port.scale is None else (str(np.float32(port.scale)), str(port.zero_point))
            _add(table, (side, port.name, port.dtype, _shape(port.shape), *integers))
    return table


def _how_to_call(graph: Graph, signature: Signature) -> Text:
    """Return how to feed and to read the file, in its own order. x is the real value."""
    rows = io_rows(graph, signature)
    lines = [f"how to call {signature.key or 'it'}, by index; x is the real value, q is in the file"]
    for row in rows:
        lines.append(f"{_end(row)}: {row.formula}")
        lines += [f"  {language}: {line}" for language, line in code_lines(row)]
    lines += [f"it needs {need}" for need in runtime_needs(graph, ())]
    return Text("\n".join(lines))


def _end(row: IoRow) -> str:
    return f"{row.side}put {row.index} {row.name}"


def _operator_table(graph: Graph) -> Table:
    table = _table("operators", ("type", "version", "count", "in", "out", "weights", "size", "%"))
    for entry in _operators(graph):
        kind, share = entry.kind, entry.size_bytes / graph.size_bytes
        dtypes = (_computed_dtypes(kind.inputs), _computed_dtypes(kind.outputs), kind.weights or "")
        size = (
            _size(entry.size_bytes) if entry.size_bytes else "",
            f"{100 * share:.0f}" if share >= _MIN_SHARE else "",
        )
        _add(table, (kind.type, str(kind.version), str(entry.count), *dtypes, *size))
    return table


def _file_table(graph: Graph) -> Table:
    sizes = size_by_dtype(graph)
    other_bytes = graph.size_bytes - sum(size for _, size in sizes)
    table = _table("file", ("", ""), shows_header=False)
    _add(table, ("size", _listed([*sizes, ("structure and names", other_bytes)])))
    if graph.minimum_runtime_version:
        _add(table, ("needs", f"TensorFlow Lite {graph.minimum_runtime_version} or newer"))
    custom = dict.fromkeys(operator.type for _, operator in graph.operators() if operator.is_custom)
    if custom:
        _add(table, ("custom", f"{', '.join(custom)}: the standard runtime does not have them"))
    if graph.metadata:
        _add(table, ("metadata", _listed([(entry.name, len(entry.data)) for entry in graph.metadata])))
    return table


def _verdict(graph: Graph) -> Text:
    lines = [
        f"{each.rule} {each.severity}: {each.where}: {each.message}. {each.runtimes}".rstrip(". ")
        for each in violations(graph)
    ]
    return Text("\n".join(["violations of rules", *lines]) if lines else "no violations of rules")


def _table(title: str, header: tuple[str, ...], shows_header: bool = True) -> Table:
    table = Table(title=title, box=None, padding=(0, 2, 0, 0), show_header=shows_header)
    table.title_justify = table.caption_justify = "left"
    for name in header:
        justify: Literal["left", "right"] = "right" if name in _RIGHT_COLUMNS else "left"
        width = len("float32") if name in ("in", "out") else None
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name not in _FOLDED_COLUMNS, min_width=width)
    return table


def _add(table: Table, cells: tuple[str, ...]) -> None:
    table.add_row(*(Text(cell) for cell in cells))  # Text, because the name of a tensor is not markup


def _computed_dtypes(dtypes: tuple[str, ...]) -> str:
    """Return the dtypes of the computation; if there is none, all dtypes, such as those of indices and shapes."""
    return ", ".join([dtype for dtype in dtypes if dtype in _COMPUTED_DTYPES] or dtypes)


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join('?' if size == -1 else str(size) for size in shape)}]"


def _listed(sizes: list[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {_size(size)}" for name, size in sizes)


def _size(count: int) -> str:
    return decimal(count).replace("bytes", "B").replace("byte", "B")
