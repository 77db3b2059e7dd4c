"""The section about targets: where each variant runs, and with how much memory."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from tflq.html_report.element import Content, element
from tflq.html_report.figure import Values, bullets, folded, section, table
from tflq.result import Result
from tflq.targets.target_verdict import TargetVerdict, kilobytes

_SIGNS = {"runs whole": ("✓", "ok"), "falls back": ("!", "failed"), "does not run": ("✕", "broken")}
"""The sign and the style of each outcome, so that colour is not the only difference."""


def targets(result: Result) -> Element | None:
    """Return the section, or None if the recipe has no targets."""
    checked = [(variant.name, verdict) for variant in result.variants for verdict in variant.targets]
    if not checked:
        return None
    rows: list[tuple[Content, ...]] = [
        (
            name,
            verdict.target,
            _outcome(verdict),
            _kilobytes(verdict.ram_bytes),
            _kilobytes(verdict.flash_bytes),
            verdict.in_words,
        )
        for name, verdict in checked
    ]
    values = Values(("variant", "target", "outcome", "RAM", "flash", "in words"), rows, words=(0, 1, 2, 5))
    not_known = dict.fromkeys(f"{each.target}: {sentence}" for _, each in checked for sentence in each.not_known)
    more = [folded(f"Not known ({len(not_known)})", bullets([(text,) for text in not_known]))] if not_known else []
    return section("targets", "Targets", table("Targets", values), *more)


def _outcome(verdict: TargetVerdict) -> Element:
    sign, style = _SIGNS.get(verdict.outcome, ("?", "failed"))
    mark = element("span", {"aria-hidden": "true"}, f"{sign} ")
    return element("span", {"class": f"status {style}"}, mark, verdict.outcome)


def _kilobytes(size: int | None) -> str:
    return "" if size is None else kilobytes(size)
