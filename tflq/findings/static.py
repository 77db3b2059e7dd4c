"""Findings that are read from the file alone, without running it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tflq import flatbuffer
from tflq.findings.constants import changed_constants
from tflq.flatbuffer import Graph
from tflq.result import Finding
from tflq.worker import ProgressCallback


def static_findings(_: ProgressCallback, float32: Path, path: Path) -> tuple[Finding, ...]:
    """Return the constants that changed beyond rounding, and whether the file is no smaller than the float32 file."""
    before, after = flatbuffer.load(float32), flatbuffer.load(path)
    return (*changed_constants(before, after), *_size(before, after))


def _size(before: Graph, after: Graph) -> Iterator[Finding]:
    if after.size_bytes < before.size_bytes:
        return
    constants, others = (
        after_bytes - before_bytes for before_bytes, after_bytes in zip(_sizes(before), _sizes(after), strict=True)
    )
    names = sum(len(tensor.name) for subgraph in after.subgraphs for tensor in subgraph.tensors)
    yield Finding(
        "size",
        "the file",
        f"is no smaller than the float32 file: {after.size_bytes:,} bytes for {before.size_bytes:,}",
        f"its constants take {_more(constants)}, but its tables, scales and names {_more(others)}; the names alone take"
        f" {names:,} bytes",
        "Ship the float32 file, unless the hardware needs this one",
    )


def _more(count: int) -> str:
    return f"{abs(count):,} bytes {'more' if count > 0 else 'less'}"


def _sizes(graph: Graph) -> tuple[int, int]:
    """Return the bytes of the constants, and all other bytes of the file."""
    constants = sum(size for _, size in flatbuffer.size_by_dtype(graph))
    return constants, graph.size_bytes - constants
