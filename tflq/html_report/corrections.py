"""The corrections that were tried before quantization, and what each one won."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from tflq.html_report.axis import Axis, interval
from tflq.html_report.element import element, paragraph, with_code
from tflq.html_report.figure import Values, chart, code, hint, section
from tflq.html_report.plot import Frame
from tflq.refine import HoldoutScore, RefinementReport
from tflq.report.refinement import explanation
from tflq.result import Result

ROW_HEIGHT = 26
SERIES = 8
"""The number of colours of series."""

Compared = Sequence[tuple[str, RefinementReport]]
"""Reports with the names of the variants that they are of."""


def corrections(result: Result) -> Element | None:
    """Return the section; None if no variant has integer weights from calibration."""
    reports = [(variant.name, variant.refinement) for variant in result.variants if variant.refinement]
    if not reports:
        return None
    compared = [(name, report) for name, report in reports if report.scores]
    if not compared:
        words = ", ".join(f"{name} has: {report.config.in_words}" for name, report in reports)
        more = hint("With ", code("auto"), " for a correction, it is compared on samples that nothing is fitted to.")
        return section("corrections", "Corrections tried", paragraph(f"The recipe leaves no choice. {words}."), more)
    told = (paragraph(*with_code(text)) for text in explanation([report for _, report in compared]))
    return section("corrections", "Corrections tried", _chart(_joined(compared)), *told)


def _joined(compared: Compared) -> Compared:
    """Return the reports; those that are equal become one, with the names of all its variants."""
    names: dict[str, list[str]] = {}
    reports: dict[str, RefinementReport] = {}
    for name, report in compared:
        key = repr((report.config, report.scores))
        names.setdefault(key, []).append(name)
        reports[key] = report
    return [(", ".join(names[key]), report) for key, report in reports.items()]


def _chart(compared: Compared) -> Element:
    configs = list(dict.fromkeys(score.config.in_words for _, report in compared for score in report.scores))
    gains = [score.gain_db(report.scores[0]) for _, report in compared for score in report.scores]
    ends = [gain + sign * error for gain, error in gains for sign in (-1, 1)]
    across = interval([0.0, *ends], "gain in SQNR over the first, dB", lambda tick: f"{tick:+.3g}", margin=0.04)
    frame = Frame(across, Axis(0.0, 1.0, (), "", str), ROW_HEIGHT)
    rows = [each for config in configs for each in _row(frame, config, compared)]
    label = f"Gain in SQNR of {len(configs)} configurations for {', '.join(name for name, _ in compared)}"
    drawn = element("div", {"class": "rows", "role": "img", "aria-label": label}, *rows, *_scale(frame))
    return chart(
        "What each correction wins",
        "SQNR on hold-out samples. Filled marks are kept. Lines are the standard error.",
        [drawn, legend([name for name, _ in compared])],
        _values(compared, configs),
    )


def _row(frame: Frame, config: str, compared: Compared) -> tuple[Element, Element]:
    """Return the name of the configuration, and the drawing of its gains."""
    zero = frame.across.place(0)
    shapes = [frame.segment((0, 0.5), (1, 0.5), "grid"), frame.segment((zero, 0), (zero, 1), "zero")]
    for number, (name, report) in enumerate(compared):
        for score in report.scores:
            if score.config.in_words == config:
                shapes += _gain(frame, number, name, (score, report))
    return element("div", {"class": "row"}, config), frame.alone(shapes)


def _gain(frame: Frame, number: int, name: str, of: tuple[HoldoutScore, RefinementReport]) -> Iterator[Element]:
    score, report = of
    gain, error = score.gain_db(report.scores[0])
    is_kept, words = score.config == report.config, score.config.in_words
    low, high = frame.across.place(gain - error), frame.across.place(gain + error)
    series = f"s{number % SERIES}"
    yield frame.segment((low, 0.5), (high, 0.5), f"whisker {series}")
    tooltip = f"{name}, {words}: {gain:+.1f} ± {error:.1f} dB{', kept' if is_kept else ''}"
    yield frame.dot((frame.across.place(gain), 0.5), f"series {series}{' kept' if is_kept else ''}", tooltip)


def _scale(frame: Frame) -> tuple[Element, Element]:
    return element("div", {"class": "row"}), frame.alone(frame.scale())


def legend(names: Sequence[str]) -> Element:
    """Return the names of the series with their colours."""
    items = (
        element("li", {}, element("span", {"class": f"swatch s{number % SERIES}", "aria-hidden": "true"}), name)
        for number, name in enumerate(names)
    )
    return element("ul", {"class": "legend"}, *items)


def _values(compared: Compared, configs: Sequence[str]) -> Values:
    rows = [(config, *(_cell(report, config) for _, report in compared)) for config in configs]
    return Values(("tried", *(f"{name}, dB" for name, _ in compared)), rows)


def _cell(report: RefinementReport, config: str) -> str:
    score: HoldoutScore | None = next((s for s in report.scores if s.config.in_words == config), None)
    if score is None:
        return ""
    gain, error = score.gain_db(report.scores[0])
    gained = "" if score is report.scores[0] else f" ({gain:+.1f} ± {error:.1f})"
    return f"{score.mean:.1f}{gained}{', kept' if report.config == score.config else ''}"
