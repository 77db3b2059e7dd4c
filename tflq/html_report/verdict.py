"""The verdict in words: what to ship, what failed and why, and what was odd about the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from tflq import advise
from tflq.advise import WORDS, Advice, Device
from tflq.errors import RecipeError
from tflq.html_report.element import Content, element, paragraph, with_code
from tflq.html_report.figure import SIGNS, bullets, hint, section
from tflq.recipe import Recipe
from tflq.report.json_report import to_dict
from tflq.report.problems import Problem, problems
from tflq.report.table import size
from tflq.result import Result, Variant


def verdict(result: Result, recipe: Recipe) -> Element:
    """Return the first section of the page."""
    parts: list[Element] = [_recommendations(result, recipe), _tally(result)]
    listed = _by_problems(result)
    if listed:
        items = (_problems(variants, found) for variants, found in listed)
        parts += [element("h3", {}, "Problems"), element("div", {"class": "problems"}, *items)]
    if result.warnings:
        lines = bullets([with_code(warning) for warning in result.warnings])
        parts += [element("h3", {}, "Notes on the data and the run"), lines]
    return section("verdict", "Verdict", *parts)


def status_mark(status: str) -> Element:
    """Return a verdict with its sign and colour."""
    sign = element("span", {"aria-hidden": "true"}, SIGNS.get(status, "") + " ")
    return element("span", {"class": f"status {status}"}, sign, status)


def _recommendations(result: Result, recipe: Recipe) -> Element:
    """Return a box for each kind of device for which there are variants, or why nothing can be recommended."""
    try:
        run = advise.measured_run(recipe, to_dict(result))
    except RecipeError as error:
        text = str(error).removeprefix(f"{recipe.name}: ")
        return hint(
            element("strong", {}, "There is no recommendation: "), f"it {text}. " if text[0] == "w" else f"{text}."
        )
    gate = recipe.gates.max_metric_drop
    boxes: list[Element] = []
    for target in _targets(result):
        try:
            advice = advise.advise(recipe, run, target, advise.TOLERATED if gate is None else gate)
        except RecipeError:
            continue
        boxes.append(_box(result, target, advice, is_main=not boxes))
    return element("div", {"class": "boxes"}, *boxes)


def _targets(result: Result) -> Iterator[Device]:
    modes = {variant.mode or "" for variant in result.variants}
    yield "cpu"
    if "float16" in modes:
        yield "gpu"
    if any(mode.endswith("_only") for mode in modes):
        yield "integer"


def _box(result: Result, target: Device, advice: Advice, *, is_main: bool) -> Element:
    chosen = next(variant for variant in result.variants if variant.name == advice.variant)
    reason = advice.reason[:1].upper() + advice.reason[1:]
    content: list[Content] = [
        element(
            "p",
            {"class": "eyebrow"},
            f"{'Ship' if advice.passed else 'Nearest, but not good enough,'} for {WORDS[target]}",
        ),
        element("p", {"class": "headline"}, chosen.name),
        element("p", {"class": "facts"}, *_facts(chosen)),
        paragraph(*with_code(f"{reason}.")),
    ]
    if is_main:
        content.append(paragraph(element("strong", {}, "Training: "), *with_code(f"{advice.training}.")))
    return element("div", {"class": "box main" if is_main else "box"}, *content)


def _facts(variant: Variant) -> Iterator[Content]:
    """Yield the figures that people look for first."""
    if variant.file:
        ratio = f" ({variant.size_ratio:.0%} of float32)" if variant.size_ratio else ""
        yield element("span", {}, f"{size(variant.file.size_bytes)}{ratio}")
    measured = variant.measured
    if measured and measured.metric:
        yield element("span", {}, f"{measured.metric.name} {measured.metric.value:.4f}")
    if measured and measured.latency_ms:
        yield element("span", {}, f"{measured.latency_ms.median:.3g} ms a call")


def _tally(result: Result) -> Element:
    counts = Counter(variant.status for variant in result.variants)
    marks = (element("li", {}, f"{count} ", status_mark(status)) for status, count in sorted(counts.items()))
    total = len(result.variants)
    text = f"{total} variant{'s' * (total != 1)}:"
    return element("div", {"class": "tally"}, element("span", {}, text), element("ul", {}, *marks))


def _by_problems(result: Result) -> list[tuple[list[Variant], tuple[Problem, ...]]]:
    """Return the problems, each with the variants that have them. The gravest verdicts are first."""
    groups: dict[tuple[Problem, ...], list[Variant]] = {}
    for variant in result.variants:
        groups.setdefault(tuple(problems(variant)), []).append(variant)
    listed = [(variants, found) for found, variants in groups.items() if found]
    return sorted(listed, key=lambda group: -max(variant.exit_code for variant in group[0]))


def _problems(variants: Sequence[Variant], found: Sequence[Problem]) -> Element:
    lines = [
        (element("span", {"class": "kind"}, problem.kind), *with_code(f" {problem.text.removesuffix('.')}."))
        for problem in found
    ]
    names: list[Content] = []
    for variant in variants:
        names += [element("strong", {}, variant.name), " ", status_mark(variant.status), " "]
    return element("div", {"class": "problem"}, paragraph(*names), bullets(lines))
