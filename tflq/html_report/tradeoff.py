"""Size against accuracy, and latency against accuracy, with the variants that no other one beats in both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree.ElementTree import Element

from tflq.html_report.axis import Axis, amounts, interval
from tflq.html_report.element import element
from tflq.html_report.figure import Values, chart, hint, section
from tflq.html_report.plot import Frame, Point, drawing
from tflq.html_report.quality import Quality, QualityScale, quality
from tflq.report.table import size
from tflq.result import Result, Variant

WIDE, NARROW = 430, 250
"""The widths in pixels for which names, and on small screens numbers, are placed. Charts are not narrower."""


@dataclass(frozen=True)
class PlottedVariant:
    """A measured variant with its cost, in bytes or milliseconds."""

    number: int
    """The row of the variant in the table, from 1."""
    variant: Variant
    cost: float
    quality: Quality


@dataclass(frozen=True)
class Cost:
    """What a chart compares the quality with."""

    name: str
    label: str
    text: Callable[[float], str]
    of: Callable[[Variant], float | None]


SIZE = Cost(
    "Size", "size of the file", lambda cost: size(round(cost)), lambda v: float(v.file.size_bytes) if v.file else None
)
LATENCY = Cost(
    "Latency",
    "median time of one call in ms",
    lambda cost: f"{cost:,.0f}" if cost >= 1000 else f"{cost:.3g}",
    lambda v: v.measured.latency_ms.median if v.measured and v.measured.latency_ms else None,
)


def tradeoff(result: Result, of: QualityScale) -> Element | None:
    """Return the section; None if no variant was measured."""
    charts = [
        _chart(candidates, cost, of, result) for cost in (SIZE, LATENCY) if (candidates := plotted(result, cost, of))
    ]
    if not charts:
        return None
    hints = [] if of.is_metric else [_how_to_get_a_metric()]
    if len(charts) == 1:
        hints.append(
            hint("Times of calls are measured unless the recipe has ", element("code", {}, "latency: off"), ".")
        )
    name = "accuracy" if of.is_metric else "fidelity"
    return section("tradeoff", f"Size and time against {name}", element("div", {"class": "charts"}, *charts), *hints)


def _how_to_get_a_metric() -> Element:
    keys = (element("code", {}, "evaluation.label"), element("code", {}, "evaluation.metric"))
    return hint("There is no metric, so these charts show the nearness to the float32 file. With ", keys[0], " and ",
                keys[1], " in the recipe they show accuracy.")  # fmt: skip


def plotted(result: Result, cost: Cost, of: QualityScale) -> list[PlottedVariant]:
    """Return the variants of which both are known."""
    found = []
    for number, variant in enumerate(result.variants, 1):
        amount, measured = cost.of(variant), quality(variant, of)
        if amount is not None and measured is not None:
            found.append(PlottedVariant(number, variant, amount, measured))
    return found


def front(candidates: Sequence[PlottedVariant], of: QualityScale) -> list[PlottedVariant]:
    """Return the candidates that no other one beats, by increasing cost. Only those with the verdict ok compete."""

    def worth(each: PlottedVariant) -> float:
        value = each.quality.value
        return float("inf") if value is None else value if of.higher_is_better else -value

    best: list[PlottedVariant] = []
    for each in sorted((c for c in candidates if c.variant.status == "ok"), key=lambda c: (c.cost, -worth(c))):
        if not best or worth(each) > worth(best[-1]):
            best.append(each)
    return best


def _chart(candidates: Sequence[PlottedVariant], cost: Cost, of: QualityScale, result: Result) -> Element:
    best = front(candidates, of)
    limit = _limit(candidates, of, result)
    frame = Frame(amounts([each.cost for each in candidates], cost.label, cost.text), _up(candidates, of, limit))
    points = [_point(frame, each) for each in candidates]
    shapes = [*_levels(frame, limit), *_front_line(frame, best)]
    for each in candidates:
        shapes += _mark(frame, each, _tooltip(each, of, cost), is_best=each in best)
    shapes += frame.names(points, [each.variant.name for each in candidates], WIDE, "wide")
    shapes += frame.names(points, [str(each.number) for each in candidates], NARROW, "narrow")
    label = f"{cost.name} against {of.name} of {len(candidates)} variants. Not beaten: " + ", ".join(
        each.variant.name for each in best
    )
    title = f"{cost.name} against {of.name if of.is_metric else 'fidelity'}"
    explanation = "Filled marks on the line: no other variant that is ok is better in both."
    return chart(title, explanation, [drawing(frame, label, shapes), _legend(candidates)],
                 _values(candidates, best, cost, of))  # fmt: skip


def _up(candidates: Sequence[PlottedVariant], of: QualityScale, limit: float | None) -> Axis:
    values = [] if limit is None else [limit]
    for each in candidates:
        if each.quality.value is not None:
            values += [each.quality.value - each.quality.margin, each.quality.value + each.quality.margin]
    axis = interval(values or [0.0], of.name, of.text)
    return axis if of.higher_is_better else axis.reversed


def _limit(candidates: Sequence[PlottedVariant], of: QualityScale, result: Result) -> float | None:
    """Return the value at the gate of the recipe, if there is one."""
    name = "max_metric_drop" if of.is_metric else "min_sqnr_db"
    bars = [gate.bar for each in candidates for gate in each.variant.gates if gate.name == name]
    if not bars or not of.is_metric:
        return bars[0] if bars else None
    base = result.baseline.float32_metric
    return None if base is None else base - bars[0] if of.higher_is_better else base + bars[0]


def _levels(frame: Frame, limit: float | None) -> Iterator[Element]:
    if limit is not None:
        yield from frame.level(limit, "limit", "limit of the gate")


def _point(frame: Frame, each: PlottedVariant) -> Point:
    across, value = frame.across.place(each.cost), each.quality.value
    return across, 1.0 if value is None else frame.up.place(value)


def _front_line(frame: Frame, best: Sequence[PlottedVariant]) -> Iterator[Element]:
    """Yield the line through the variants on the front, in steps: each is the best one until the next begins."""
    if len(best) < 2:
        return
    points = [_point(frame, each) for each in best]
    steps = [points[0]]
    for (_, level), point in pairwise(points):
        steps += [(point[0], level), point]
    yield frame.line(steps, "front")


def _mark(frame: Frame, each: PlottedVariant, tooltip: str, *, is_best: bool) -> Iterator[Element]:
    point, value, margin = _point(frame, each), each.quality.value, each.quality.margin
    if value is not None and margin:
        low, high = frame.up.place(value - margin), frame.up.place(value + margin)
        yield frame.segment((point[0], low), (point[0], high), "whisker")
    yield frame.dot(point, f"{each.variant.status}{' best' if is_best else ''}", tooltip)


def _tooltip(each: PlottedVariant, of: QualityScale, cost: Cost) -> str:
    value = each.quality.value
    shown = "equal to float32" if value is None else f"{of.name} {value:.4g}"
    return f"{each.variant.name}: {shown}, {cost.text(each.cost)} ({each.variant.status})"


def _legend(candidates: Sequence[PlottedVariant]) -> Element:
    """Return the names by number, for screens on which the chart has only numbers."""
    items = (element("li", {"value": str(each.number)}, each.variant.name) for each in candidates)
    return element("ol", {"class": "legend narrow"}, *items)


def _values(
    candidates: Sequence[PlottedVariant], best: Sequence[PlottedVariant], cost: Cost, of: QualityScale
) -> Values:
    header = ("variant", cost.label, of.name, "± 95 %", "verdict", "not beaten")
    rows = [
        (
            each.variant.name,
            cost.text(each.cost),
            "equal" if each.quality.value is None else f"{each.quality.value:.6g}",
            f"{each.quality.margin:.4f}" if each.quality.margin else "",
            each.variant.status,
            "yes" if each in best else "",
        )
        for each in candidates
    ]
    return Values(header, rows, words=(0, 4, 5))
