"""How the files were made: ops in float, inputs and outputs, stages and versions, folded away."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from tflq.html_report.element import element, paragraph
from tflq.html_report.figure import Values, code, folded, section, table
from tflq.report.page import ports
from tflq.report.table import size
from tflq.result import Result

_PORTS = ("file", "", "name", "dtype", "shape", "scale", "zero point")


def making(result: Result) -> Element:
    """Return the last section."""
    return section("making", "How it was made", *_float_ops(result), _ports(result), _stages(result), _recipe(result))


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


def _ports(result: Result) -> Element:
    formula = paragraph("real = (q − zero_point) · scale; q = clip(round(real / scale) + zero_point).")
    header = tuple(name or "side" for name in _PORTS)
    values = Values(header, list(ports(result)), words=(0, 1, 2, 3, 4))
    return folded("Inputs and outputs", formula, table("Inputs and outputs", values))


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
