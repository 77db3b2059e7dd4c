"""The ranges of weights, channel by channel, for the layers that lose most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from tflq.html_report.axis import Axis, interval
from tflq.html_report.element import element, paragraph
from tflq.html_report.figure import Values, chart
from tflq.html_report.plot import Frame, drawing
from tflq.result import Result, WeightRange

MAX_CHARTS = 3
MAX_BARS = 128
"""The most bars of a chart. If there are more channels, each bar is the largest of several."""
MAX_ROWS = 40
"""The most channels in the table: those with the largest weights."""
HEIGHT = 130


def weight_charts(result: Result) -> Iterator[Element]:
    """Yield a chart for each of the layers that lose most in any variant."""
    lost: dict[tuple[str, tuple[float, ...]], WeightRange] = {}
    for variant in result.variants:
        for each in variant.layers.weights if variant.layers else ():
            key = each.tensor, each.peaks
            lost[key] = max(lost.get(key, each), each, key=lambda weights: weights.lost_db)
    worst = sorted(lost.values(), key=lambda each: (-each.lost_db, each.tensor))[:MAX_CHARTS]
    if worst:
        yield element("h3", {}, "Weights of the layers that lose most")
        yield paragraph(
            "The largest magnitude in each output channel of the float32 model, on a logarithmic scale. If channels"
            " differ much, one scale for all is coarse for the small ones; per_channel: true gives each its own."
        )
        yield element("div", {"class": "charts three"}, *map(_chart, worst))


def _chart(each: WeightRange) -> Element:
    step = math.ceil(len(each.peaks) / MAX_BARS)
    bars = [(first, max(each.peaks[first : first + step])) for first in range(0, len(each.peaks), step)]
    up = _magnitudes([peak for _, peak in bars])
    frame = Frame(interval([0.0, float(len(each.peaks))], "output channel", lambda t: f"{t:g}", margin=0.0), up, HEIGHT)
    shapes = [_bar(frame, first, first + step, peak) for first, peak in bars if peak > 0]
    positive = [peak for peak in each.peaks if peak > 0] or [0.0]
    span = f"{min(positive):.3g} to {max(positive):.3g}"
    explanation = f"{each.op}, which loses up to {each.lost_db:.1f} dB. Channels from {span}."
    order = sorted(range(len(each.peaks)), key=lambda channel: -each.peaks[channel])[:MAX_ROWS]
    rows = [(str(channel), f"{each.peaks[channel]:.4g}") for channel in order]
    values = Values(("channel", "largest magnitude"), rows)
    label = f"Largest weights of {len(each.peaks)} channels of {each.tensor}. {explanation}"
    return chart(f"Weights of {each.tensor}", explanation, [drawing(frame, label, shapes)], values)


def _bar(frame: Frame, first: int, end: int, peak: float) -> Element:
    left, right = frame.across.place(first), frame.across.place(end)
    name = f"channel {first}" if end - first == 1 else f"channels {first} to {end - 1}"
    return frame.bar(left, right, frame.up.place(peak), "bin", f"{name}: {peak:.4g}")


def _magnitudes(peaks: list[float]) -> Axis:
    positive = [peak for peak in peaks if peak > 0] or [1.0]
    low, high = math.log10(min(positive)) - 0.2, math.log10(max(positive)) + 0.1
    step = max(math.ceil((high - low) / 4), 1)
    ticks = tuple(10.0**exponent for exponent in range(math.ceil(low), math.floor(high) + 1, step))
    if len(ticks) < 2:
        ticks = (min(positive), max(positive)) if min(positive) < max(positive) else (max(positive),)
    return Axis(10.0**low, 10.0**high, ticks, "", lambda tick: f"{tick:.2g}", is_logarithmic=True)
