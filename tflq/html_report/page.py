"""Result → report.html."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from tflq.html_report.answers import answers
from tflq.html_report.corrections import corrections
from tflq.html_report.data import data
from tflq.html_report.element import element, write
from tflq.html_report.head import head
from tflq.html_report.making import making
from tflq.html_report.outputs import outputs
from tflq.html_report.quality import scale
from tflq.html_report.targets import targets
from tflq.html_report.tradeoff import tradeoff
from tflq.html_report.training import training
from tflq.html_report.variants import variants
from tflq.html_report.verdict import verdict
from tflq.recipe import Recipe
from tflq.result import Result


def to_html(result: Result, recipe: Recipe) -> str:
    """Return the page, which needs no other file, no network and no script. `recipe` is the recipe of the result."""
    found = (
        verdict(result, recipe),
        variants(result),
        targets(result),
        tradeoff(result, scale(result, recipe)),
        outputs(result),
        data(result),
        answers(result),
        corrections(result),
        training(result),
        making(result),
    )
    sections = [each for each in found if each is not None]
    body = element("body", {}, _header(result, sections), element("main", {}, *sections), _footer(result))
    return write(element("html", {"lang": "en"}, head(f"{result.name} – report of tflq"), body))


def _header(result: Result, sections: list[Element]) -> Element:
    samples = f"{result.evaluation.samples:,} samples of {result.evaluation.dataset}"
    links = (element("li", {}, element("a", {"href": f"#{each.get('id')}"}, each[0].text or "")) for each in sections)
    return element(
        "header",
        {},
        element("h1", {}, result.name),
        element("p", {"class": "lead"}, f"{len(result.variants)} TensorFlow Lite files, measured on {samples}"),
        element("nav", {"aria-label": "Sections"}, element("ul", {}, *links)),
    )


def _footer(result: Result) -> Element:
    versions = f"tflq {result.environment['tflq']}, TensorFlow {result.environment.get('tensorflow', 'unknown')}"
    return element("footer", {}, f"Made by {versions}. The same figures are in report.json.")
