"""The I/O card as the part of the reports about inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.firmware.io_row import IoRow, code_lines
from tflq.report.table import markdown_table
from tflq.result import Result

ORDER = (
    "The index is the place in the file, by which callers in C and in Java name an input. x is the real value,"
    " and q is what the file takes or returns. All values are computed in float32."
)
HEADER = ("file", "", "index", "name", "dtype", "shape", "scale", "zero point", "how")


def to_markdown(result: Result) -> Iterator[str]:
    """Yield the table of all inputs and outputs, and a list with their preprocessing and lines of code."""
    yield "## Inputs and outputs"
    yield ORDER
    yield markdown_table(HEADER, list(rows(result)))
    yield "\n".join(_lines(result))


def rows(result: Result) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the inputs and outputs of all files, in the order of each file."""
    for variant in result.variants:
        for row in variant.file.io if variant.file else ():
            yield (variant.name, *cells(row))


def cells(row: IoRow) -> tuple[str, ...]:
    """Return the cells of the row, from the side to the formula."""
    scale = "" if row.scale is None else f"{row.scale:.9g}"
    zero_point = "" if row.zero_point is None else str(row.zero_point)
    return (row.side, str(row.index), row.name, row.dtype, shape(row, "×"), scale, zero_point, row.formula)


def shape(row: IoRow, separator: str) -> str:
    return separator.join("?" if size == -1 else str(size) for size in row.shape)


def grouped(result: Result) -> list[tuple[str, IoRow]]:
    """Return the distinct rows, each with the names of the variants that have it."""
    names: dict[IoRow, list[str]] = {}
    for variant in result.variants:
        for row in variant.file.io if variant.file else ():
            names.setdefault(row, []).append(variant.name)
    return [(", ".join(variants), row) for row, variants in names.items()]


def needs(result: Result) -> Iterator[tuple[str, str]]:
    """Yield the name of each variant that needs something of the runtime, and what it needs."""
    yield from ((variant.name, need) for variant in result.variants if variant.file for need in variant.file.needs)


def _lines(result: Result) -> Iterator[str]:
    for name, need in needs(result):
        yield f"- **{name}** needs {need}."
    for names, row in grouped(result):
        yield f"- **{names}**, {row.side}put {row.index}, `{row.name}`:"
        if row.preprocessing:
            yield f"  - Before, as in the recipe: {row.preprocessing}"
        yield from (f"  - {language}: `{line}`" for language, line in code_lines(row))
