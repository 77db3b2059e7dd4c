"""Pages in a real browser: what is wrong with one, in light and dark, on a narrow and a wide screen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IS_CI = os.environ.get("CI") == "true"
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and not IS_CI,
    reason="there is no Chromium to look at pages with: install the package chromium",
)
MILLISECONDS = 1000 * PATIENCE
"""The browser's own limits are short for a busy machine."""
WIDTHS = (400, 1400)
SCHEMES = ("light", "dark")

LOOK = """() => ({
  width: document.documentElement.scrollWidth,
  charts: document.querySelectorAll("figure").length,
  bare: [...document.querySelectorAll("figure")].filter(f => !f.querySelector("details table tbody tr")).length,
  unnamed: [...document.querySelectorAll("figure")].filter(f => !f.querySelector("[role=img][aria-label]")).length,
  small: [...document.querySelectorAll("svg text")].filter(t => t.getBoundingClientRect().width &&
    parseFloat(getComputedStyle(t).fontSize) < 11).length,
})"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "there is no Chromium: install the package chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=MILLISECONDS)
        yield browser
        browser.close()


def new_context(browser: Any, **options: Any) -> Any:
    """A context whose tabs are given as much time as a busy machine needs."""
    context = browser.new_context(**options)
    context.set_default_timeout(MILLISECONDS)
    return context


def faults(page: Path) -> list[str]:
    """What is wrong with the page; empty if nothing is."""
    found = []
    with chromium() as browser:
        for width, scheme in product(WIDTHS, SCHEMES):
            context = new_context(browser, viewport={"width": width, "height": 900}, color_scheme=scheme)
            found += [f"{width} pixels, {scheme}: {fault}" for fault in _faults(context.new_page(), page, width)]
            context.close()
    return found


def _faults(tab: Any, page: Path, width: int) -> Iterator[str]:
    from axe_playwright_python.sync_playwright import Axe

    messages: list[str] = []
    tab.on("console", lambda message: messages.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: messages.append(f"error: {error}"))
    tab.on("dialog", lambda dialog: messages.append(f"dialog: {dialog.message}"))
    tab.on("request", lambda request: messages.append(f"loads {request.url}") if request.url != page.as_uri() else None)
    tab.goto(page.as_uri())
    for state in ("closed", "open"):
        if state == "open":
            tab.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true })")
        seen = tab.evaluate(LOOK)
        if seen["width"] > width:
            yield f"{state}: is {seen['width']} pixels wide"
        for name, fault in (("bare", "without a table"), ("unnamed", "without a label"), ("small", "texts too small")):
            if seen[name]:
                yield f"{state}: {seen[name]} of {seen['charts']} charts: {fault}"
        for violation in Axe().run(tab).response["violations"]:
            places = [node["html"][:200] for node in violation["nodes"][:3]]
            yield f"{state}: {violation['id']}: {violation['help']}: {places}"
    yield from messages
