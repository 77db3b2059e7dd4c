"""The fidelity of outputs as columns of tables, which report.md, report.html and the diff show."""

from __future__ import annotations

from collections.abc import Sequence

from tflq.report.table import Table
from tflq.result import Output, Result

HEADER = ("SQNR dB", "cosine", "largest error", "PSNR dB", "agree")
"""The columns of `cells`."""


def cells(output: Output) -> tuple[str, ...]:
    """Return the figures of one output. A figure that it does not have is empty."""
    return (
        "equal" if output.sqnr_db is None else f"{output.sqnr_db:.1f}",
        f"{output.cosine:.6f}",
        f"{output.max_abs_error:.4g}",
        "" if output.psnr_db is None else f"{output.psnr_db:.1f}",
        "" if output.agreement is None else f"{output.agreement:.4f}",
    )


def filled(header: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
    """Return the table without the columns that no row fills."""
    kept = [i for i in range(len(header)) if any(row[i] for row in rows)]
    return Table(tuple(header[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows))


def outputs_table(result: Result) -> Table | None:
    """Return a row for each output of each variant; None if no variant was measured."""
    rows = [
        (variant.name, f"`{name}`", *cells(output))
        for variant in result.variants
        if variant.measured
        for name, output in variant.measured.fidelity.items()
    ]
    return filled(("file", "output", *HEADER), rows) if rows else None
