"""DiffResult → Markdown for a terminal, a file or the comment of a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.diff.document import Block, TableBlock, document, short_name
from tflq.diff.run import DiffResult
from tflq.report.table import markdown_table


def to_markdown(result: DiffResult) -> str:
    """Return the verdict in one line, then tables of only what differs. The tables of variants are folded."""
    page = document(result)
    parts = [f"**{_flat(page.verdict)}**", *(part for block in page.blocks for part in _parts(block))]
    for section in page.sections:
        parts += [f"## {_flat(section.title)}", _flat(section.verdict)]
        if section.blocks:
            tables = (part for block in section.blocks for part in _parts(block))
            parts += ["<details><summary>What differs</summary>", *tables, "</details>"]
    return "\n\n".join(parts) + "\n"


def _parts(block: Block) -> Iterator[str]:
    if not isinstance(block, TableBlock):
        yield _flat(block)
        return
    yield f"### {_flat(block.title)}"
    yield markdown_table(block.header, [tuple(_cells(block, row)) for row in block.rows])
    if block.omitted:
        yield f"{block.omitted:,} more rows are in the JSON."


def _cells(block: TableBlock, row: tuple[str, ...]) -> Iterator[str]:
    for place, cell in enumerate(row):
        yield _code(short_name(cell)) if place in block.names and cell else _flat(cell)


def _code(text: str) -> str:
    """Return the text as code, which shows it as it is."""
    line = " ".join(text.split())
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def _flat(text: str) -> str:
    """Return the text as one line without HTML."""
    return " ".join(text.split()).replace("<", "&lt;")
