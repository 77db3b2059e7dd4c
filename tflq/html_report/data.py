"""What the samples say: the values of the inputs, and the ranges of activations."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from tflq.calibrate.data_checks import RangeComparison
from tflq.html_report.element import element, paragraph
from tflq.html_report.figure import Values, code, hint, section, table
from tflq.html_report.histograms import histogram_charts
from tflq.html_report.weights import weight_charts
from tflq.report.page import range_origin
from tflq.result import DatasetReport, Result


def data(result: Result) -> Element:
    return section("data", "What the samples say", *_inputs(result.calibration), *_ranges(result))


def _inputs(calibration: DatasetReport | None) -> Iterator[Element]:
    if calibration is None:
        yield hint("There are no calibration samples. With ", code("calibration"), " in the recipe, this section shows"
                   " the values of the inputs and the ranges of activations.")  # fmt: skip
        return
    total = "" if calibration.of is None else f" of {calibration.of:,}"
    yield element("h3", {}, "Inputs")
    yield paragraph(f"{calibration.samples:,}{total} calibration samples of {calibration.dataset}.")
    rows = [
        (each.name, each.dtype, f"{each.minimum:.5g}", f"{each.maximum:.5g}", f"{each.mean:.5g}", f"{each.std:.5g}")
        for each in calibration.inputs
    ]
    header = ("input", "dtype", "lowest", "highest", "mean", "standard deviation")
    yield table("Values of the inputs", Values(header, rows, words=(0, 1)))


def _ranges(result: Result) -> Iterator[Element]:
    report = result.range_report
    if report is None:
        return
    yield element("h3", {}, "Ranges of activations")
    yield paragraph(range_origin(report))
    yield from histogram_charts(result)
    yield from weight_charts(result)
    if report.clips:
        yield paragraph(
            "These activations have rare values far from the others. Each method keeps this part of the range:"
        )
        used = "minmax" if report.method == "auto" else f"{report.method} (used)"
        header = ("activation", "lowest", "highest", used, "percentile 99.99", "mse")
        yield table("Ranges with rare values", Values(header, [_clip(clip) for clip in report.clips]))


def _clip(clip: RangeComparison) -> tuple[Element | str, ...]:
    shares = (f"{share:.3g}" for share in (clip.chosen, clip.percentile, clip.mse))
    return code(clip.tensor), f"{clip.lowest:.5g}", f"{clip.highest:.5g}", *shares
