"""What changes for users: confusion matrices, samples where answers differ, and the scatter of regressions."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from tflq.html_report.axis import interval
from tflq.html_report.element import Content, element, paragraph
from tflq.html_report.figure import Values, chart, code, folded, hint, section, table
from tflq.html_report.plot import Frame, drawing
from tflq.result import AnswersReport, Confusion, Disagreement, Result

MAX_SCATTERS = 6
"""The most variants with a scatter of their values; variants with equal answers are one."""
MAX_ROWS = 40
"""The most points of a scatter in its table: those that are farthest apart."""
Named = tuple[str, AnswersReport]
"""The answers of one or more variants, with their names."""


def answers(result: Result) -> Element | None:
    """Return the section; None if no variant was compared with the float32 file."""
    named = _by_answers(result)
    if not named:
        return None
    with_classes = [each for each in named if each[1].confusion]
    if with_classes:
        return section("answers", "What changes for users", *_of_classes(with_classes))
    scatters = [_scatter(each) for each in named[:MAX_SCATTERS] if each[1].points]
    if not scatters:
        return None
    lead = paragraph(
        "Up to 400 values of output ",
        code(named[0][1].output),
        ", evenly chosen. On the line, both files answer the same.",
    )
    return section("answers", "What changes for users", lead, element("div", {"class": "charts"}, *scatters))


def _by_answers(result: Result) -> list[Named]:
    names: dict[AnswersReport, list[str]] = {}
    for variant in result.variants:
        if variant.measured and variant.measured.answers:
            names.setdefault(variant.measured.answers, []).append(variant.name)
    return [(", ".join(variants), report) for report, variants in names.items()]


def _of_classes(named: Sequence[Named]) -> Iterator[Element]:
    rows = [
        (name, f"{each.disagreeing:,} of {each.samples:,}", f"{each.disagreeing / max(each.samples, 1):.2%}")
        for name, each in named
    ]
    yield paragraph("The samples for which a variant answers another class than the float32 file, in output ",
                    code(named[0][1].output), ". Of equal scores, the first one is the answer here. The column agree"
                    " counts a tie by its probability.")  # fmt: skip
    yield table("Samples with another class", Values(("variant", "another class", "share"), rows))
    differing = [each for each in named if each[1].disagreeing]
    if not differing:
        yield paragraph("Every variant answers the same class as the float32 file for every sample.")
        return
    for name, each in differing:
        yield from _differences(name, each)
    if all(each.confusion and each.confusion.float32 is None for _, each in differing):
        yield hint("With ", code("evaluation.label"), " and ", code("evaluation.metric"), " in the recipe, the matrices"
                   " compare answers with labels.")  # fmt: skip


def _differences(name: str, each: AnswersReport) -> Iterator[Element]:
    yield element("h3", {}, name)
    yield element("ul", {"class": "cards"}, *(_card(one) for one in each.disagreements))
    if len(each.disagreements) < each.disagreeing:
        text = f"These are {len(each.disagreements)} of {each.disagreeing:,} samples, those with the lowest rows."
        yield paragraph(text)
    if each.confusion:
        yield _confusion(name, each.confusion)


def _card(one: Disagreement) -> Element:
    content: list[Content] = []
    if one.picture is not None:
        kind = "png" if one.picture.startswith(b"\x89PNG") else "jpeg"
        data = base64.b64encode(one.picture).decode("ascii")
        source = f"data:image/{kind};base64,{data}"
        content.append(element("img", {"src": source, "alt": f"Input of row {one.row}"}))
    label = "" if one.label is None else f", label {one.label}"
    lines = [element("span", {"class": "place"}, f"row {one.row}{label}")]
    for file, class_, score in zip(("float32", "variant"), one.classes, one.scores, strict=True):
        mark = "" if one.label is None else " ✓" if one.label == class_ else " ✕"
        lines.append(element("span", {}, f"{file}: ", element("strong", {}, f"{class_}{mark}"), f" ({score:.3g})"))
    return element("li", {}, *content, element("div", {}, *lines))


def _confusion(name: str, confusion: Confusion) -> Element:
    """Return the matrix of the variant. The colour and the number in brackets show the change from float32."""
    first = "label" if confusion.float32 is not None else "float32"
    before = confusion.float32 or tuple(
        tuple(sum(row) if place == number else 0 for place in range(len(row)))
        for number, row in enumerate(confusion.variant)
    )
    pairs = [pair for now, was in zip(confusion.variant, before, strict=True) for pair in zip(now, was, strict=True)]
    largest = max((abs(now - was) for now, was in pairs), default=0)
    rows: list[tuple[Content, ...]] = []
    for number, (now, earlier) in enumerate(zip(confusion.variant, before, strict=True)):
        cells = (
            _count(count, count - was, largest, is_right=number == place)
            for place, (count, was) in enumerate(zip(now, earlier, strict=True))
        )
        rows.append((str(confusion.classes[number]), *cells))
    header = (f"{first} ↓ answer →", *map(str, confusion.classes))
    note = (
        f"Rows: {first}. Columns: the class that {name} answers. In brackets: the change from the float32 file, in"
        " samples. Blue cells are more right answers or fewer wrong ones; orange cells are the opposite."
    )
    if confusion.left_out:
        note += f" {confusion.left_out} classes with smaller changes are left out."
    whole = table(f"Confusion matrix of {name}", Values(header, rows))
    whole.set("class", "scroll confusion")
    return folded("Confusion matrix", paragraph(note), whole)


def _count(count: int, change: int, largest: int, *, is_right: bool) -> Element:
    if not change:
        return element("span", {"class": "" if count else "nothing"}, str(count))
    style = "better" if (change > 0) == is_right else "worse"
    strength = f"--strength: {15 + 30 * abs(change) / largest:.0f}%"
    return element("span", {"class": style, "style": strength}, f"{count} ({change:+d})")


def _scatter(named: Named) -> Element:
    name, each = named
    numbers = [value for point in each.points for value in point]
    across = interval(numbers, "float32", lambda tick: f"{tick:.3g}")
    frame = Frame(across, interval(numbers, name, lambda tick: f"{tick:.3g}"))
    shapes = [frame.line([(0.0, 0.0), (1.0, 1.0)], "front")]
    for float32, value in each.points:
        shapes.append(frame.dot(frame.point(float32, value), "series small s0", f"{float32:.4g} → {value:.4g}"))
    rows = [(f"{f:.6g}", f"{q:.6g}", f"{q - f:+.3g}") for f, q in sorted(each.points, key=lambda p: -abs(p[1] - p[0]))]
    values = Values(("float32", name, "difference"), rows[:MAX_ROWS], words=())
    label = f"Scatter of {len(each.points)} values of {name} against the float32 file"
    text = f"{len(each.points)} values. The table has the {min(len(rows), MAX_ROWS)} with the largest differences."
    return chart(f"Values of {name}", text, [drawing(frame, label, shapes)], values)
