"""Result → the rows of one table, which the terminal and report.md both show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tflq.errors import printable

if TYPE_CHECKING:  # a batch with nothing to do uses the tables, but has no result
    from tflq.result import Output, Result, Variant


@dataclass(frozen=True)
class Table:
    """The cells of a table as text; every row is as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(result: Result, is_narrow: bool = False) -> Table:
    """Return a row for the source and one per variant. Empty columns are left out.

    A narrow table fits into 80 columns. If there is a metric, it leaves out the agreement.
    """
    metric = result.metric or "metric"
    header = ("", "size", "ratio", metric, "drop ±95 %", "SQNR dB", "agree", "samples", "ms", "verdict")
    rows = [_source(result), *[_row(variant, _samples(result, variant)) for variant in result.variants]]
    left_out = ("agree",) if is_narrow and result.metric else ()
    columns = [i for i, name in enumerate(header) if i == 0 or (any(row[i] for row in rows) and name not in left_out)]
    return Table(tuple(header[i] for i in columns), tuple(tuple(row[i] for i in columns) for row in rows))


def _source(result: Result) -> tuple[str, ...]:
    base = result.baseline
    ratio = base.source_bytes / base.float32_bytes
    value = "" if base.source_metric is None else f"{base.source_metric:.4f}"
    samples = "" if base.source_samples is None else _part(base.source_samples, result)
    return ("source", size(base.source_bytes), f"{ratio:.2f}", value, "", "", "", samples, "", "")


def _samples(result: Result, variant: Variant) -> str:
    return _part(variant.measured.samples, result) if variant.measured else ""


def _part(samples: int, result: Result) -> str:
    """Return `n of N` if fewer samples were measured than the recipe selects, else an empty text."""
    return f"{samples:,} of {result.evaluation.samples:,}" if samples < result.evaluation.samples else ""


def _row(variant: Variant, samples: str) -> tuple[str, ...]:
    sizes = (size(variant.file.size_bytes), f"{variant.size_ratio:.2f}") if variant.file else ("", "")
    return (variant.name, *sizes, *_accuracy(variant), *_fidelity(variant), samples, _latency(variant), variant.status)


def _accuracy(variant: Variant) -> tuple[str, str]:
    score = variant.measured.metric if variant.measured else None
    if score is None:
        return "", ""
    low, high = score.ci95
    return f"{score.value:.4f}", f"{score.drop:+.4f} ±{(high - low) / 2:.4f}"


def _fidelity(variant: Variant) -> tuple[str, str]:
    return worst_fidelity(variant.measured.fidelity) if variant.measured else ("", "")


def worst_fidelity(outputs: Mapping[str, Output]) -> tuple[str, str]:
    """Return the SQNR and the agreement of the worst output as text."""
    ratios = [output.sqnr_db for output in outputs.values() if output.sqnr_db is not None]
    agreements = [output.agreement for output in outputs.values() if output.agreement is not None]
    return f"{min(ratios):.1f}" if ratios else "equal", f"{min(agreements):.4f}" if agreements else ""


def _latency(variant: Variant) -> str:
    latency = variant.measured.latency_ms if variant.measured else None
    if latency is None:
        return ""
    return f"{latency.median:.3f}" if latency.median < 10 else f"{latency.median:.1f}"


def size(count: int) -> str:
    """Format a number of bytes for people, in units of 1,000."""
    for unit, digits in (("B", 0), ("kB", 1), ("MB", 2)):
        if count < 1000 or unit == "MB":
            return f"{count:,.{digits}f} {unit}"
        count /= 1000  # type: ignore[assignment]
    raise AssertionError


def shortened(text: str, width: int) -> str:
    """Return the text in at most `width` columns, at least 1. A longer text loses its middle, which becomes one …"""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def plain_markdown(page: str) -> str:
    """Return the page with no HTML and no control characters. Names of models, files and tensors are data."""
    return printable(page).replace("<", "&lt;")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format the table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
