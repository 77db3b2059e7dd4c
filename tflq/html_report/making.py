"""How the files were made: ops in float, inputs and outputs, stages and versions, folded away."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from tflq.firmware.io_row import code_lines
from tflq.html_report.element import element, paragraph
from tflq.html_report.figure import Values, bullets, code, folded, section, table
from tflq.report import io_table
from tflq.report.table import size
from tflq.result import Result


def making(result: Result) -> Element:
    """Return the last section."""
    listed = (
        *_float_ops(result),
        *_int16_ops(result),
        *_sparse_weights(result),
        _io(result),
        _stages(result),
        _recipe(result),
    )
    return section("making", "How it was made", *listed)


def _float_ops(result: Result) -> Iterator[Element]:
    rows = [
        (variant.name, op.type, code(op.tensor), op.reason)
        for variant in result.variants
        if variant.file and variant.mode
        for op in variant.file.float_ops
    ]
    if rows:
        values = Values(("file", "op", "tensor", "reason"), rows, words=(0, 1, 2, 3))
        yield folded(f"Left in float ({len(rows)})", table("Ops left in float", values))


def _int16_ops(result: Result) -> Iterator[Element]:
    rows = [
        (variant.name, op.type, code(op.tensor))
        for variant in result.variants
        if variant.file
        for op in variant.file.int16_ops
    ]
    if rows:
        values = Values(("file", "op", "tensor"), rows, words=(0, 1, 2))
        yield folded(f"In 16 bits ({len(rows)})", table("Ops in 16 bits", values))


def _sparse_weights(result: Result) -> Iterator[Element]:
    rows = [
        (variant.name, each.op, code(each.tensor), f"{each.zeros:.1%}", size(each.size_bytes), size(each.saved_bytes))
        for variant in result.variants
        if variant.file
        for each in variant.file.sparse_weights
    ]
    if rows:
        values = Values(("file", "op", "tensor", "zeros", "stored", "saved"), rows, words=(0, 1, 2))
        yield folded(f"Sparse weights ({len(rows)})", table("Sparse weights", values))


def _io(result: Result) -> Element:
    header = tuple(name or "side" for name in io_table.HEADER)
    values = Values(header, list(io_table.rows(result)), words=(0, 1, 3, 4, 5, 8))
    return folded("Inputs and outputs", paragraph(io_table.ORDER), table("Inputs and outputs", values), *_code(result))


def _code(result: Result) -> Iterator[Element]:
    """Yield what files need, and the preprocessing and the lines of code of each input and output."""
    for name, need in io_table.needs(result):
        yield paragraph(element("strong", {}, name), f" needs {need}.")
    for names, row in io_table.grouped(result):
        before = [("Before, as in the recipe: ", row.preprocessing)] if row.preprocessing else []
        yield paragraph(element("strong", {}, names), f", {row.side}put {row.index}, ", code(row.name))
        yield bullets([*before, *((f"{language}: ", code(line)) for language, line in code_lines(row))])


def _stages(result: Result) -> Element:
    run = result.run
    text = f"The run took {run.seconds:.1f} s. The largest process used {size(run.peak_rss_bytes)}."
    versions = ", ".join(f"{package} {version}" for package, version in result.environment.items())
    rows = [(stage.name, f"{stage.seconds:.2f}") for stage in run.stages]
    stages = table("Seconds of each stage", Values(("stage", "seconds"), rows))
    return folded("Times and versions", paragraph(text), paragraph(f"{versions}."), stages)


def _recipe(result: Result) -> Element:
    text = element("pre", {"tabindex": "0", "role": "region", "aria-label": "The recipe"}, result.recipe)
    return folded("The recipe, with all defaults", text)
