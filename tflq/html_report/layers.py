"""The SQNR of each activation along the graph, with one line for each variant and the first large fall marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element

from tflq.html_report.axis import interval
from tflq.html_report.corrections import SERIES, legend
from tflq.html_report.element import Content, element
from tflq.html_report.figure import Values, bullets, chart, code, hint
from tflq.html_report.plot import Frame, drawing
from tflq.metrics.estimate import EQUAL_DB
from tflq.result import ActivationSqnr, LayerFigures, Result

LARGEST_DB = 90.0
"""A larger SQNR is drawn at this height: there is hardly any error."""
MAX_MARKS = 120
"""Up to this number of activations, each point has a mark with a tooltip."""
MAX_ROWS = 60
"""The most activations in the table: those with the lowest SQNR, in the order of the graph."""
Named = tuple[str, LayerFigures]


def layer_chart(result: Result) -> Iterator[Element]:
    """Yield the chart with what it shows in words; or how to get it."""
    named = _by_figures(result)
    compared = [each for each in named if each[1].layers]
    if compared:
        yield _chart(compared)
        falls = [_fall(*each) for each in compared if each[1].first_fall is not None]
        if falls:
            yield bullets(falls)
    for name, figures in named:
        if figures.obstacle:
            text = f"The activations of {name} were not compared: {figures.obstacle}. "
            yield hint(text, code("report: full"), " in the recipe has no limits of size and time.")


def _by_figures(result: Result) -> list[Named]:
    names: dict[LayerFigures, list[str]] = {}
    for variant in result.variants:
        if variant.layers is not None:
            names.setdefault(variant.layers, []).append(variant.name)
    return [(", ".join(variants), figures) for figures, variants in names.items()]


def _chart(named: Sequence[Named]) -> Element:
    ratios = [_shown(layer) for _, figures in named for layer in figures.layers]
    longest = max(len(figures.layers) for _, figures in named)
    places = [1.0, float(max(longest, 2))]
    across = interval(places, "activation, in the order of the graph", lambda tick: f"{tick:g}", margin=0.02)
    frame = Frame(across, interval([0.0, *ratios], "SQNR in dB", lambda tick: f"{tick:g}"), 260)
    shapes = [shape for number, each in enumerate(named) for shape in _line(frame, number, *each)]
    calls = max(figures.calls for _, figures in named)
    label = f"SQNR of up to {longest} activations along the graph of {', '.join(name for name, _ in named)}"
    explanation = (
        f"Each activation of a variant against the same one of the float32 model that it was quantized from, on {calls}"
        f" call{'s' * (calls != 1)}. Diamonds are the first large falls."
    )
    drawn = [drawing(frame, label, shapes), legend([name for name, _ in named])]
    return chart("SQNR along the graph", explanation, drawn, _values(named))


def _shown(layer: ActivationSqnr) -> float:
    return max(min(layer.sqnr_db, LARGEST_DB), -20.0)


def _line(frame: Frame, number: int, name: str, figures: LayerFigures) -> Iterator[Element]:
    style = f"s{number % SERIES}"
    points = [frame.point(place, _shown(layer)) for place, layer in enumerate(figures.layers, 1)]
    yield frame.line(points, f"line {style}")
    if len(points) <= MAX_MARKS:
        for point, layer in zip(points, figures.layers, strict=True):
            tooltip = f"{name}: {layer.op} {layer.tensor}, {_in_words(layer.sqnr_db)}"
            yield frame.dot(point, f"series small {style}", tooltip)
    if figures.first_fall is not None:
        layer = figures.layers[figures.first_fall]
        yield frame.dot(points[figures.first_fall], "failed", f"{name}: first large fall, {layer.op} {layer.tensor}")


def _fall(name: str, figures: LayerFigures) -> tuple[Content, ...]:
    assert figures.first_fall is not None
    layer = figures.layers[figures.first_fall]
    words = f" first falls {_from(figures.before_db)}to {layer.sqnr_db:.1f} dB, at {layer.op} "
    return element("strong", {}, name), words, code(layer.tensor), "."


def _from(before_db: float | None) -> str:
    if before_db is None:
        return ""
    return "from an exact input " if before_db >= EQUAL_DB else f"from {before_db:.1f} "


def _values(named: Sequence[Named]) -> Values:
    rows: dict[tuple[int, str, str], dict[str, float]] = {}
    for name, figures in named:
        for place, layer in enumerate(figures.layers, 1):
            rows.setdefault((place, layer.op, layer.tensor), {})[name] = layer.sqnr_db
    lowest = sorted(rows, key=lambda key: min(rows[key].values()))[:MAX_ROWS]
    cells: list[tuple[Content, ...]] = [
        (str(key[0]), key[1], code(key[2]), *_cells(named, rows[key])) for key in sorted(lowest)
    ]
    return Values(("place", "op", "activation", *(f"{name}, dB" for name, _ in named)), cells, words=(0, 1, 2))


def _cells(named: Sequence[Named], ratios: Mapping[str, float]) -> Iterator[str]:
    for name, _ in named:
        yield _in_words(ratios[name]).removesuffix(" dB") if name in ratios else ""


def _in_words(sqnr_db: float) -> str:
    return "equal" if sqnr_db >= EQUAL_DB else f"{sqnr_db:.1f} dB"
