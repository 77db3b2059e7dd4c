"""What sections consist of: tables that scroll, and charts with the table of their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tflq.html_report.element import Content, element, paragraph

SIGNS = {"ok": "✓", "failed": "!", "poor": "!", "broken": "✕", "error": "✕"}
"""The sign of each verdict, so that colour is not the only difference."""


@dataclass(frozen=True)
class Values:
    """The values of a table; columns in `words` are text, and all others are numbers."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[Content]]
    words: tuple[int, ...] = (0,)


def section(identifier: str, title: str, *content: Content) -> Element:
    """Return a section of the page with its heading, to which links can lead."""
    heading = element("h2", {"id": f"{identifier}-title"}, title)
    return element("section", {"id": identifier, "aria-labelledby": f"{identifier}-title"}, heading, *content)


def table(name: str, values: Values) -> Element:
    """Return the table in a box of its own, which scrolls if the table is wider. The first column names each row."""
    head = [
        element("th", {"scope": "col", **_kind(place, values)}, title) if title else element("td", {})
        for place, title in enumerate(values.header)
    ]
    rows = [element("tr", {}, *(_cell(place, cell, values) for place, cell in enumerate(row))) for row in values.rows]
    whole = element(
        "table", {"aria-label": name}, element("thead", {}, element("tr", {}, *head)), element("tbody", {}, *rows)
    )
    return element("div", {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": f"{name}, table"}, whole)


def _cell(place: int, cell: Content, values: Values) -> Element:
    tag, scope = ("th", {"scope": "row"}) if place == 0 else ("td", {})
    return element(tag, {**scope, **_kind(place, values)}, cell)


def _kind(place: int, values: Values) -> dict[str, str]:
    return {} if place in values.words else {"class": "number"}


def folded(summary: str, *content: Content) -> Element:
    """Return content that opens with a click; it is printed open."""
    return element("details", {}, element("summary", {}, summary), *content)


def chart(title: str, explanation: str, drawing: Sequence[Element], values: Values) -> Element:
    """Return a chart with its title, what it shows, its drawing, and the table of all its values."""
    caption = element("figcaption", {}, element("strong", {}, title), element("span", {}, explanation))
    return element(
        "figure", {}, caption, *drawing, folded("Values of this chart", table(f"Values of the chart {title}", values))
    )


def code(text: str) -> Element:
    return element("code", {}, text)


def bullets(lines: Sequence[Sequence[Content]]) -> Element:
    return element("ul", {}, *(element("li", {}, *line) for line in lines))


def hint(*content: Content) -> Element:
    """Return a paragraph that says how to get what a section does not have."""
    line = paragraph(*content)
    line.set("class", "hint")
    return line
