"""DiffResult → Markdown for a terminal, a file or the comment of a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from tflq.diff.document import Block, Heading, TableBlock, TextBlock, blocks
from tflq.diff.run import DiffResult
from tflq.report.table import markdown_table


def to_markdown(result: DiffResult) -> str:
    """Return the verdict in one line, then tables of only what differs."""
    return "\n\n".join(part for block in blocks(result) for part in _parts(block)) + "\n"


def _parts(block: Block) -> Iterator[str]:
    match block:
        case Heading(level, text):
            yield f"{'#' * level} {_flat(text)}"
        case TextBlock(text, is_verdict):
            yield f"**{_flat(text)}**" if is_verdict else _flat(text)
        case TableBlock():
            yield f"### {_flat(block.title)}"
            yield markdown_table(block.header, [tuple(_cells(block, row)) for row in block.rows])
            if block.omitted:
                yield f"{block.omitted:,} more rows are in the JSON."


def _cells(block: TableBlock, row: tuple[str, ...]) -> Iterator[str]:
    for place, cell in enumerate(row):
        yield _code(cell) if place in block.names and cell else _flat(cell)


def _code(text: str) -> str:
    """Return the text as code, which shows it as it is."""
    line = " ".join(text.split())
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def _flat(text: str) -> str:
    """Return the text as one line without HTML."""
    return " ".join(text.split()).replace("<", "&lt;")
