from __future__ import annotations

import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree.ElementTree import tostring

import pytest
from browser import faults, needs_browser
from results import BROKEN, ERROR, FAILED_GATE, FLOAT32, RESULT, TRAINED, measured

from tflq.calibrate.data_checks import RangeComparison
from tflq.html_report.axis import amounts, interval
from tflq.html_report.element import element, paragraph, with_code, write
from tflq.html_report.page import to_html
from tflq.html_report.quality import scale
from tflq.html_report.tradeoff import SIZE, front, plotted
from tflq.recipe import Recipe, load
from tflq.result import Result, Variant

RECIPE_TEXT = """\
name: net
model: model.keras
calibration: {dataset: {npz: images.npz}}
evaluation: {dataset: {npz: images.npz}, label: label, metric: top1}
gates: {max_metric_drop: 0.02}
variants: [float32, int8, {mode: int8_only, name: edge}]
"""
NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\x00\ud800"
EMPTY = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    path = tmp_path_factory.mktemp("recipe") / "net.yaml"
    path.write_text(RECIPE_TEXT)
    return load(path)


class Outline(HTMLParser):
    """The text of the page, its headings, and the tags and attributes that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text, self.headings = "", list[str]()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "h2":
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings[-1] += data
        if self.open and self.open[-1] != "style":
            self.text += data


def nasty(result: Result) -> Result:
    """The result, in which every name is hostile."""
    assert FLOAT32.file
    assert FLOAT32.measured
    assert result.range_report
    output = FLOAT32.measured.fidelity["logits"]
    file = replace(FLOAT32.file, name=NASTY, inputs=tuple(replace(port, name=NASTY) for port in FLOAT32.file.inputs))
    variant = replace(FLOAT32, name=NASTY, file=file, measured=replace(FLOAT32.measured, fidelity={NASTY: output}))
    ranges = replace(result.range_report, clips=(RangeComparison(NASTY, -1.0, 1.0, 1.0, 0.1, 0.1),))
    return replace(
        result,
        name=NASTY,
        recipe="name: net # <script>alert(1)</script>\n",
        warnings=(NASTY,),
        range_report=ranges,
        variants=(variant, replace(FAILED_GATE, name=NASTY * 2), BROKEN, TRAINED, replace(ERROR, name="x" * 300)),
    )


def test_sections_are_in_order(recipe: Recipe) -> None:
    assert Outline(to_html(RESULT, recipe)).headings == [
        "Verdict",
        "Variants",
        "Targets",
        "Size and time against accuracy",
        "Where accuracy goes",
        "What the samples say",
        "Training",
        "How it was made",
    ]


def test_the_verdict_says_what_to_ship_and_what_failed(recipe: Recipe) -> None:
    text = Outline(to_html(RESULT, recipe)).text
    assert "max_metric_drop is 0.04, but the limit is 0.02" in text
    assert "there is no kernel with 16-bit activations for 'SIN'" in text
    assert "calibration.samples asks for 200, the dataset has 60: all were used" in text
    assert "at a loss of at most 0.02 in top1" in text


def test_names_are_data(recipe: Recipe) -> None:
    page = Outline(to_html(nasty(RESULT), recipe))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not {name for name in page.attributes if name.startswith("on")}
    assert page.text.count("<script>alert(1)</script>") > 10
    assert page.open == []


def test_the_page_can_be_written_as_utf_8(recipe: Recipe) -> None:
    to_html(nasty(RESULT), recipe).encode()


def test_the_same_result_gives_the_same_page(recipe: Recipe) -> None:
    assert to_html(RESULT, recipe) == to_html(RESULT, recipe)


@pytest.mark.parametrize("variants", [(), (ERROR,), (FLOAT32,), (replace(FLOAT32, measured=measured(math.nan, None)),)])
def test_a_page_of_little_data(recipe: Recipe, variants: tuple[Variant, ...]) -> None:
    bare = replace(RESULT, variants=variants, calibration=None, range_report=None, training=None, metric=None)
    page = Outline(to_html(bare, recipe))
    assert page.headings[0] == "Verdict"
    assert page.headings[-1] == "How it was made"
    assert "There are no calibration samples." in page.text


def test_the_front_has_the_variants_that_no_other_beats(recipe: Recipe) -> None:
    def variant(name: str, size_bytes: int, value: float) -> Variant:
        assert FLOAT32.file
        return replace(
            FLOAT32, name=name, file=replace(FLOAT32.file, size_bytes=size_bytes), measured=measured(value, 9.0)
        )

    variants = (
        variant("large", 100, 0.9),
        variant("beaten", 60, 0.7),
        variant("middle", 50, 0.8),
        variant("small", 10, 0.5),
        variant("worse", 10, 0.4),
        replace(FAILED_GATE, name="failed"),
    )
    result = replace(RESULT, variants=variants)
    of = scale(result, recipe)
    assert [each.variant.name for each in front(plotted(result, SIZE, of), of)] == ["small", "middle", "large"]


def test_an_axis_of_amounts_begins_at_zero_or_is_logarithmic() -> None:
    near, far = amounts([10.0, 20.0], "", str), amounts([1.0, 1000.0], "", str)
    assert (near.place(0.0), near.is_logarithmic, far.is_logarithmic) == (0.0, False, True)
    assert far.place(10.0) - far.place(1.0) == pytest.approx(far.place(100.0) - far.place(10.0))


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [0.981, 0.9811], [-1e9, 1e9], [1e-12, 3e-12]])
def test_ticks_are_round_and_within_the_axis(values: list[float]) -> None:
    axis = interval(values, "", str)
    assert 1 <= len(axis.ticks) <= 7
    assert all(0 <= axis.place(tick) <= 1 for tick in axis.ticks)
    assert all(0 < axis.place(value) < 1 for value in values)


def test_text_after_an_element_is_escaped_too() -> None:
    page = write(element("p", {"title": '"<'}, "a<", element("b", {}, "b&"), "c<"))
    assert page == '<!doctype html>\n<p title="&quot;<">a&lt;<b>b&amp;</b>c&lt;</p>\n'


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("make", [lambda result: result, nasty], ids=["every verdict", "hostile names"])
def test_pages_in_a_browser(make: object, recipe: Recipe, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(to_html(make(RESULT), recipe), encoding="utf-8")  # type: ignore[operator]
    assert faults(page) == []


def test_targets_have_a_section_with_a_sign_for_each_outcome(recipe: Recipe) -> None:
    outline = Outline(to_html(RESULT, recipe))
    assert "Targets" in outline.headings
    assert "✕ does not run" in outline.text
    assert "GELU 'net/gelu': the target does not have this op" in outline.text
    assert "micro: SIN: its limits are not known" in outline.text
    without = replace(RESULT, variants=tuple(replace(variant, targets=()) for variant in RESULT.variants))
    assert "Targets" not in Outline(to_html(without, recipe)).headings


def test_text_between_backticks_is_code() -> None:
    told = tostring(paragraph(*with_code("try `tflq search R` first, or `x`")), encoding="unicode")
    assert told == "<p>try <code>tflq search R</code> first, or <code>x</code></p>"
    assert with_code("a ` in a name") == ["a ` in a name"]
