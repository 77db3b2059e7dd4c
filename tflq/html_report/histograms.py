"""Histograms of activations, with the range that integers span."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from xml.etree.ElementTree import Element

from tflq.html_report.axis import Axis, interval
from tflq.html_report.element import element, paragraph
from tflq.html_report.figure import Values, chart
from tflq.html_report.plot import Frame, drawing
from tflq.result import ActivationHistogram, Result

HEIGHT = 130


def histogram_charts(result: Result) -> Iterator[Element]:
    """Yield the charts with an explanation; nothing if there are no histograms."""
    if not result.histograms:
        return
    yield element("h3", {}, "Activations with the widest ranges for their usual values")
    yield paragraph(
        "Values on the calibration samples, on a logarithmic scale. Dashed lines are the range by the recipe's method,"
        " which variants with corrections may have changed. Values outside of it are clipped. If most of a range has"
        " few values, its integers are coarse where most values are."
    )
    yield element("div", {"class": "charts three"}, *map(_chart, result.histograms))


def _chart(each: ActivationHistogram) -> Element:
    ends = [each.edges[0], each.edges[-1], each.minimum, each.maximum]
    across = interval(ends, "value", lambda tick: f"{tick:.4g}", margin=0.03)
    frame = Frame(across, _shares(each), HEIGHT)
    shapes = [*_bars(frame, each), *_ends(frame, each)]
    usual = f"{each.usual[0]:.3g} to {each.usual[1]:.3g}"
    observed = f"Observed {each.edges[0]:.4g} to {each.edges[-1]:.4g}; 99.9 % of values are within {usual}."
    explanation = observed + (f" Clipped: {100 * each.clipped:.2g} % of all values." if each.clipped else "")
    label = f"Histogram of {each.tensor}. {explanation}"
    rows = [
        (f"{low:.4g} to {high:.4g}", f"{100 * share:.3g} %")
        for (low, high), share in zip(pairwise(each.edges), each.shares, strict=True)
        if share
    ]
    drawn = [drawing(frame, label, shapes)]
    return chart(each.tensor.partition(";")[0], explanation, drawn, Values(("values", "share"), rows))


def _shares(each: ActivationHistogram) -> Axis:
    lowest = math.floor(math.log10(min(share for share in each.shares if share > 0)))
    step = max(math.ceil(-lowest / 4), 1)
    ticks = tuple(10.0**exponent for exponent in range(0, lowest - 1, -step))
    return Axis(10.0 ** (lowest - 0.5), 1.0, ticks, "", lambda tick: f"{100 * tick:.3g} %", is_logarithmic=True)


def _bars(frame: Frame, each: ActivationHistogram) -> Iterator[Element]:
    for (low, high), share in zip(pairwise(each.edges), each.shares, strict=True):
        if share > 0:
            left, right = frame.across.place(low), frame.across.place(high)
            tooltip = f"{low:.4g} to {high:.4g}: {100 * share:.3g} %"
            yield frame.bar(left, right, frame.up.place(share), "bin", tooltip)


def _ends(frame: Frame, each: ActivationHistogram) -> Iterator[Element]:
    for end in (each.minimum, each.maximum):
        x = frame.across.place(end)
        yield frame.segment((x, 0), (x, 1), "limit")
