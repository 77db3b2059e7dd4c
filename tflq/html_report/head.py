"""The head of a page: its title, its styles, and what a browser may load for it."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from xml.etree.ElementTree import Element

from tflq.html_report.element import element

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load for a page: its own styles and pictures, and nothing from elsewhere."""


def head(title: str, more_style: str = "", script: str = "") -> Element:
    """Return the head of a page that needs no other file and no network.

    If there is a script, the page must hold exactly its text, and a browser runs no other.
    """
    style = files("tflq.html_report").joinpath("page.css").read_text(encoding="utf-8") + more_style
    policy = (
        f"{POLICY}; script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" if script else POLICY
    )
    return element(
        "head",
        {},
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("title", {}, title),
        element("style", {}, style),
    )
