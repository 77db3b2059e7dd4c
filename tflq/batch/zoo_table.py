"""The table of all models: a row for each model, with columns for each variant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tflq.batch.page import reasons
from tflq.batch.summary import BatchSummary, Model, VariantRow
from tflq.batch.zoo_figures import ZooVariant, model_verdict
from tflq.html_report.element import element
from tflq.html_report.figure import SIGNS
from tflq.report.table import shortened, size

MAX_VARIANTS = 6
"""The largest number of variants with columns of their own; the others share one column."""
FIRST_ROWS = 500
"""The number of rows that are shown at first. A browser without scripts shows all rows."""
NAME_WIDTH, FIGURE_WIDTH, WORDS_WIDTH = 14, 6, 20
"""The widths of columns, in the unit rem. With fixed widths, a browser need not measure all rows."""
MAX_WHY = 160
"""The largest length of a reason, in characters. The report of the model has the whole text."""
Cell = Callable[[VariantRow], str]


@dataclass(frozen=True)
class _VariantColumn:
    """A column of every variant."""

    name: str
    text: Cell
    has_bar: bool = False


_COLUMNS = (
    _VariantColumn("size", lambda row: "" if row.size_bytes is None else size(row.size_bytes), has_bar=True),
    _VariantColumn("SQNR", lambda row: _number(row.sqnr_db, ".1f") or ("equal" if row.is_measured else "")),
    _VariantColumn("drop", lambda row: _number(row.drop, "+.4f")),
    _VariantColumn("ms", lambda row: _number(row.latency_ms, ".3f")),
)


def models_table(
    summary: BatchSummary, variants: Sequence[ZooVariant], links: Mapping[str, str], changes: Mapping[str, str]
) -> Element:
    """Return the table, with a row for each model. `links`: model → address of its report."""
    names = [variant.name for variant in variants[:MAX_VARIANTS]]
    rows = [row for model in summary.models for row in model.rows]
    columns = [column for column in _COLUMNS if any(column.text(row) for row in rows)] if rows else []
    has_others = len(variants) > len(names)
    notes = (*(("other variants",) if has_others else ()), *(("since the baseline",) if changes else ()), "reason")
    bodies = [element("tbody", {}), element("tbody", {"class": "rest"})]
    for number, model in enumerate(summary.models):
        found = {row.name: row for row in model.rows}
        cells = [_name(model, links.get(model.name, "")), _verdict(model_verdict(model))]
        for name in names:
            cells += (_cell(column, found.get(name)) for column in columns)
        others = ", ".join(f"{row.name} {row.status}" for row in model.rows if row.name not in names)
        why = shortened(" ".join(_why(model).split()), MAX_WHY)
        texts = (*((others,) if has_others else ()), *((changes.get(model.name, ""),) if changes else ()), why)
        cells += (element("td", {"class": "words"}, text) for text in texts)
        bodies[number >= FIRST_ROWS].append(element("tr", {}, *cells))
    widths = [NAME_WIDTH, *[FIGURE_WIDTH] * (1 + len(names) * len(columns)), *[WORDS_WIDTH] * len(notes)]
    whole = element(
        "table",
        {"id": "zoo", "aria-label": "Models", "style": f"width: max(100%, {sum(widths)}rem)"},
        element("colgroup", {}, *(element("col", {"style": f"width: {width}rem"}) for width in widths)),
        _heads(names, columns, notes),
        *(body for body in bodies if len(body)),
    )
    return element("div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "Models, table"}, whole)


def _heads(names: Sequence[str], columns: Sequence[_VariantColumn], notes: Sequence[str]) -> Element:
    """Return two rows of headings: the names of the variants, and the columns."""
    top = [element("td", {"colspan": "2"})]
    if columns:
        top += [element("th", {"scope": "colgroup", "colspan": str(len(columns))}, name) for name in names]
    top.append(element("td", {"colspan": str(len(notes))}))
    titles = ["model", "verdict", *(column.name for _ in names for column in columns), *notes]
    words = {0, 1, *range(len(titles) - len(notes), len(titles))}
    heads = [
        element("th", {"scope": "col", **({"class": "words"} if place in words else {})}, title)
        for place, title in enumerate(titles)
    ]
    return element("thead", {}, element("tr", {}, *top), element("tr", {"class": "columns"}, *heads))


def _name(model: Model, link: str) -> Element:
    return element("th", {"scope": "row"}, element("a", {"href": link}, model.name) if link else model.name)


def _verdict(verdict: str) -> Element:
    sign = SIGNS.get(verdict, "")
    return element("td", {"class": f"v {verdict.replace(' ', '-')}"}, f"{sign} {verdict}".strip())


def _cell(column: _VariantColumn, row: VariantRow | None) -> Element:
    text = column.text(row) if row else ""
    attributes: dict[str, str] = {}
    if column.has_bar and row:
        if row.size_ratio is not None:
            attributes["style"] = f"--r:{min(round(100 * row.size_ratio), 100)}%"
        if row.status != "ok":
            attributes["class"] = row.status
            text = f"{text} {SIGNS.get(row.status, '')}".strip()
    return element("td", attributes, text)


def _why(model: Model) -> str:
    return next(
        (why if len(model.rows) < 2 else f"{name.removeprefix(model.name)}: {why}" for name, why in _reasons(model)), ""
    )


def _reasons(model: Model) -> Iterator[tuple[str, str]]:
    yield from reasons(model)
    if model.state == "not reached":
        yield model.name, model.why


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
