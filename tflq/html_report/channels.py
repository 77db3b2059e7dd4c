"""The fidelity of an output by channel, as a chart with one line for each variant."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tflq.html_report.axis import interval
from tflq.html_report.corrections import SERIES, legend
from tflq.html_report.figure import Values, chart
from tflq.html_report.plot import Frame, drawing
from tflq.metrics.channel_figures import Channels
from tflq.result import Result

MAX_POINTS = 256
"""The most points of one line. If there are more channels, each point is the worst of several."""
MAX_MARKS = 64
"""Up to this number, each point has a mark with a tooltip."""
MAX_ROWS = 32
"""The most channels in the table: those with the lowest SQNR."""


@dataclass(frozen=True)
class ChannelSeries:
    """The channels of one output in the variants that have these figures."""

    name: str
    channels: Channels


def channel_chart(result: Result, output: str) -> Element | None:
    """Return the chart of that output; None if no variant has figures of its channels."""
    series = _series(result, output)
    known = [ratio for each in series for ratio in each.channels.sqnr_db if ratio is not None]
    if not known:
        return None
    count = series[0].channels.count
    step = math.ceil(count / MAX_POINTS)
    across = interval([0.0, count - 1.0], "channel", lambda tick: f"{tick:g}", margin=0.02)
    frame = Frame(across, interval(known, "SQNR in dB", lambda tick: f"{tick:g}"), 220)
    shapes = [shape for number, each in enumerate(series) for shape in _line(frame, each, number, step)]
    label = f"SQNR of the {count} channels of {output} in {', '.join(each.name for each in series)}"
    several = f" Each point is the worst of {step} channels." if step > 1 else ""
    dead = " Crosses at the bottom are dead channels." if any(each.channels.dead for each in series) else ""
    explanation = f"The signal is the deviation from the mean of the channel.{several}{dead}"
    drawn = [drawing(frame, label, shapes), legend([each.name for each in series])]
    return chart(f"Channels of {output}", explanation, drawn, _values(series))


def _series(result: Result, output: str) -> list[ChannelSeries]:
    """Return the figures of all variants; variants with equal figures are one series."""
    names: dict[Channels, list[str]] = {}
    for variant in result.variants:
        fidelity = variant.measured.fidelity.get(output) if variant.measured else None
        if fidelity and fidelity.channels and any(ratio is not None for ratio in fidelity.channels.sqnr_db):
            names.setdefault(fidelity.channels, []).append(variant.name)
    return [ChannelSeries(", ".join(variants), channels) for channels, variants in names.items()]


def _line(frame: Frame, each: ChannelSeries, number: int, step: int) -> Iterator[Element]:
    ratios, style = each.channels.sqnr_db, f"s{number % SERIES}"
    points = []
    for first in range(0, len(ratios), step):
        known = [ratio for ratio in ratios[first : first + step] if ratio is not None]
        if known:
            points.append((first, min(known)))
    if len(points) > 1:
        yield frame.line([frame.point(*point) for point in points], f"line {style}")
    for channel, ratio in points if len(points) <= MAX_MARKS else ():
        tooltip = f"{each.name}, channel {channel}: {ratio:.1f} dB"
        yield frame.dot(frame.point(channel, ratio), f"series small {style}", tooltip)
    for channel in each.channels.dead[:MAX_POINTS]:
        yield frame.dot((frame.across.place(channel), 0.0), "broken", f"{each.name}, channel {channel}: dead")


def _values(series: Sequence[ChannelSeries]) -> Values:
    def lowest(channel: int) -> float:
        return min(math.inf if (ratio := each.channels.sqnr_db[channel]) is None else ratio for each in series)

    worst = sorted(range(series[0].channels.count), key=lambda channel: (lowest(channel), channel))[:MAX_ROWS]
    rows = [(str(channel), *(_cell(each.channels, channel) for each in series)) for channel in worst]
    return Values(("channel", *(f"{each.name}, dB" for each in series)), rows)


def _cell(channels: Channels, channel: int) -> str:
    ratio = channels.sqnr_db[channel]
    notes = [name for name, found in (("dead", channels.dead), ("saturated", channels.saturated)) if channel in found]
    return " ".join(["–" if ratio is None else f"{ratio:.1f}", *notes])
