"""Elements of a page. All text and all attributes are escaped when they are written, so names can be anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias
from xml.etree.ElementTree import Element, tostring

Content: TypeAlias = str | Element

_LINES = {"body", "details", "div", "figure", "footer", "h1", "h2", "h3", "head", "header", "li", "main", "meta", "p"}
_LINES |= {"section", "style", "summary", "svg", "table", "tbody", "thead", "title", "tr"}
"""The elements that end a line of the file. White space after them shows nothing."""
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that an HTML file must not have."""


def element(tag: str, attributes: Mapping[str, str], *content: Content) -> Element:
    """Return an element with that content, which is text and other elements."""
    made = Element(tag, {name: _clean(value) for name, value in attributes.items()})
    add(made, content)
    return made


def add(parent: Element, content: Iterable[Content]) -> None:
    """Append the content to the element."""
    for each in content:
        if isinstance(each, Element):
            parent.append(each)
        elif len(parent):
            parent[-1].tail = (parent[-1].tail or "") + _clean(each)
        else:
            parent.text = (parent.text or "") + _clean(each)


def _clean(text: str) -> str:
    return _NOT_TEXT.sub("\ufffd", text)


def paragraph(*content: Content) -> Element:
    return element("p", {}, *content)


def with_code(text: str) -> list[Content]:
    """Return a text of report.md as content: what is between backticks is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return [text]
    return [element("code", {}, part) if place % 2 else part for place, part in enumerate(parts) if part]


def write(root: Element) -> str:
    """Return the page as text."""
    for each in root.iter():
        if each.tag in _LINES and each.tail is None:
            each.tail = "\n"
    return "<!doctype html>\n" + tostring(root, encoding="unicode", method="html")
