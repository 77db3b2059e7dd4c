"""DiffResult → one HTML page without scripts, which needs no other file and no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from xml.etree.ElementTree import Element

from tflq.diff.document import Block, Document, TableBlock, document, short_name
from tflq.diff.run import DiffResult
from tflq.html_report.element import Content, element, paragraph, write
from tflq.html_report.figure import Values, code, folded, section, table
from tflq.html_report.head import head

_NUMBER = re.compile(r"[-+−]?[\d.,]+(e[-+]?\d+)?( ?[%kM]?B?)?")


def to_html(result: DiffResult) -> str:
    """Return the page: the verdict, what was compared, and tables of only what differs."""
    page = document(result)
    name = "Difference of two folders" if result.are_folders else "Difference of two files"
    header = element(
        "header",
        {},
        element("h1", {}, name),
        element("p", {"class": "lead"}, f"A is {result.before}; B is {result.after}."),
    )
    footer = element("footer", {}, f"Made by tflq {metadata.version('tflq')}. All figures: ", code("tflq diff --json"))
    body = element("body", {}, header, element("main", {}, *_sections(page)), footer)
    return write(element("html", {"lang": "en"}, head(f"{name} – tflq"), body))


def _sections(page: Document) -> Iterator[Element]:
    box = element("div", {"class": "box main"}, element("p", {}, page.verdict))
    yield section("verdict", "Verdict", element("div", {"class": "boxes"}, box))
    blocks = page.blocks[1:]  # the first one is in the header
    if blocks:
        yield section("differences", "Variants" if page.sections else "What differs", *_elements(blocks))
    for number, each in enumerate(page.sections):
        content = [folded("What differs", *_elements(each.blocks))] if each.blocks else []
        yield section(f"variant-{number}", each.title, paragraph(each.verdict), *content)


def _elements(blocks: Iterable[Block]) -> Iterator[Element]:
    for block in blocks:
        if not isinstance(block, TableBlock):
            yield paragraph(block)
            continue
        yield element("h3", {}, block.title)
        yield table(block.title, _values(block))
        if block.omitted:
            yield paragraph(f"{block.omitted:,} more rows are in the JSON.")


def _values(block: TableBlock) -> Values:
    columns = range(len(block.header))
    words = tuple(column for column in columns if not all(_is_number(row[column]) for row in block.rows))
    rows = [[_cell(block, column, row[column]) for column in columns] for row in block.rows]
    return Values(block.header, rows, words=words)


def _is_number(cell: str) -> bool:
    return not cell or _NUMBER.fullmatch(cell) is not None


def _cell(block: TableBlock, column: int, cell: str) -> Content:
    if column not in block.names:
        return cell
    short = short_name(cell)
    return code(short) if short == cell else element("code", {"title": cell}, short)
