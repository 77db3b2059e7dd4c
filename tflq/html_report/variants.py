"""The table of variants, as in report.md, with links to the files."""

from __future__ import annotations

from urllib.parse import quote
from xml.etree.ElementTree import Element

from tflq.html_report.element import Content, element, paragraph, with_code
from tflq.html_report.figure import Values, section, table
from tflq.html_report.verdict import status_mark
from tflq.report.page import legend
from tflq.report.table import table as text_table
from tflq.result import Result, Variant


def variants(result: Result) -> Element:
    cells = text_table(result)
    header = ("variant", *cells.header[1:])
    size_column, last = cells.header.index("size"), len(cells.header) - 1
    largest = max([result.baseline.source_bytes, *(v.file.size_bytes for v in result.variants if v.file)])
    rows: list[tuple[Content, ...]] = []
    for row, variant in zip(cells.rows, (None, *result.variants), strict=True):
        filled: list[Content] = list(row)
        filled[0] = _name(variant) if variant else "source (TensorFlow)"
        bytes_ = result.baseline.source_bytes if variant is None else variant.file.size_bytes if variant.file else 0
        filled[size_column] = _size(row[size_column], bytes_ / largest)
        filled[last] = status_mark(row[last]) if row[last] else ""
        rows.append(tuple(filled))
    return section(
        "variants",
        "Variants",
        table("Variants", Values(header, rows, words=(0, last))),
        paragraph(*with_code(legend(result))),
    )


def _name(variant: Variant) -> Element:
    if variant.file is None:
        return element("span", {}, variant.name)
    return element("a", {"href": quote(variant.file.name, errors="replace")}, variant.name)


def _size(text: str, share: float) -> Element:
    """Return the size with a bar, whose length is the share of the largest file."""
    bar = element("span", {"class": "bar", "style": f"width: {100 * share:.1f}%", "aria-hidden": "true"})
    return element("span", {"class": "sized"}, text, bar)
