"""Summary → summary.html: one row a model, the variants over the zoo, and what changed since the baseline."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element

from tflq.batch.page import headline, totals
from tflq.batch.summary import BatchSummary
from tflq.batch.zoo_chart import zoo_chart
from tflq.batch.zoo_figures import ZooVariant, zoo_files, zoo_variants
from tflq.batch.zoo_table import models_table
from tflq.html_report.element import element, paragraph, write
from tflq.html_report.figure import Values, bullets, folded, section, table
from tflq.html_report.head import head

MAX_REGRESSIONS = 100
"""The page lists so many regressions. summary.json has all."""
REPORTS = ("report.html", "report.md")
"""The reports of a model that its row may link to; the first one that exists is used."""


@dataclass(frozen=True)
class PageContext:
    """What the page needs beside the summary."""

    folder: Path
    """The folder of the page, from which links are relative."""
    changes: Mapping[str, str] = field(default_factory=dict)
    """Model → what changed since the baseline."""
    version: str = ""
    """The version of tflq."""


def to_html(summary: BatchSummary, context: PageContext) -> str:
    """Return the page. Sorting and filtering need its script; all content is there without it."""
    resources = files("tflq.batch")
    style, script = (resources.joinpath(f"zoo.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    header = element(
        "header",
        {},
        element("h1", {}, headline(summary)),
        element("p", {"class": "lead"}, totals(summary)),
    )
    footer = element("footer", {}, f"Made by tflq {context.version}. The same figures are in summary.json.")
    main = element("main", {}, *_sections(summary, context))
    body = element("body", {"class": "zoo"}, header, main, footer, element("script", {}, script))
    return write(element("html", {"lang": "en"}, head(f"{headline(summary)} – zoo", style, script), body))


def _sections(summary: BatchSummary, context: PageContext) -> Iterator[Element]:
    variants = zoo_variants(summary)
    if summary.regressions:
        shown = [(f"{each.model} {each.variant}: {each.what}",) for each in summary.regressions[:MAX_REGRESSIONS]]
        more = len(summary.regressions) - MAX_REGRESSIONS
        parts = [bullets(shown), *([paragraph(f"{more:,} more are in summary.json.")] if more > 0 else [])]
        yield section("regressions", "Regressions", *parts)
    if variants:
        yield section("variants", "Variants over the zoo", *_variants(summary, variants))
    links = {model.name: link for model in summary.models if (link := _link(model.output, context.folder))}
    yield section("models", "Models", models_table(summary, variants, links, context.changes))
    if summary.slowest:
        rows = [(model, stage, f"{seconds:.1f}") for model, stage, seconds in summary.slowest]
        values = Values(("model", "stage", "seconds"), rows, words=(0, 1))
        yield section("stages", "Slowest stages", folded("Stages of this run", table("Slowest stages", values)))


def _link(output: str | None, folder: Path) -> str:
    """Return the address of the model's report, relative to the page; empty if it has none."""
    paths = [Path(output) / name for name in REPORTS] if output else []
    found = next((path for path in paths if path.is_file()), None)
    return quote(os.path.relpath(found, folder), errors="replace") if found else ""


def _variants(summary: BatchSummary, variants: list[ZooVariant]) -> Iterator[Element]:
    has_drops = any(variant.drop is not None for variant in variants)
    header: tuple[str, ...] = (
        "variant",
        "files",
        "verdicts",
        "median ratio",
        "median SQNR dB",
        "lowest SQNR dB",
        "not beaten",
    )
    header += ("median drop", "largest drop") if has_drops else ()
    rows = [tuple(_row(variant))[: len(header)] for variant in variants]
    yield table("Variants over the zoo", Values(header, rows, words=(0, 2)))
    yield paragraph(
        "Ratio is the size divided by that of the float32 file. Not beaten: in so many models, no other variant that is"
        " ok is smaller and at least as near to float32."
    )
    measured = list(zoo_files(summary.models))
    if measured:
        yield zoo_chart(measured)


def _row(variant: ZooVariant) -> Iterator[str]:
    yield variant.name
    yield f"{variant.files:,}"
    yield ", ".join(f"{count:,} {verdict}" for verdict, count in variant.verdicts.items())
    yield "" if variant.ratio is None else f"{variant.ratio:.3f}"
    yield "" if variant.sqnr_db is None else f"{variant.sqnr_db:.1f}"
    yield "" if variant.lowest is None else f"{variant.lowest.sqnr_db:.1f} ({variant.lowest.model})"
    yield "" if variant.lowest is None else f"{variant.unbeaten:,}"
    yield "" if variant.drop is None else f"{variant.drop:+.4f}"
    yield "" if variant.largest_drop is None else f"{variant.largest_drop[0]:+.4f} ({variant.largest_drop[1]})"
