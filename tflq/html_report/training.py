"""The course of training, and the accuracy that it recovered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from tflq.html_report.axis import interval
from tflq.html_report.corrections import legend
from tflq.html_report.element import element, paragraph
from tflq.html_report.figure import Values, bullets, chart, section
from tflq.html_report.plot import Frame, drawing
from tflq.report.training import epochs, setup
from tflq.result import Result, TrainingReport

_HEADER = ("technique", "epoch", "loss", "accuracy", "validation loss", "validation accuracy", "seconds")


def training(result: Result) -> Element | None:
    """Return the section; None if nothing was trained."""
    report = result.training
    if report is None:
        return None
    gains = [
        (element("strong", {}, variant.name), f" {variant.gain.in_words}")
        for variant in result.variants
        if variant.gain
    ]
    listed = [bullets(gains)] if gains else []
    return section("training", "Training", *listed, paragraph(setup(report)), *_chart(report))


def _chart(report: TrainingReport) -> Iterator[Element]:
    losses = [epoch.loss for phase in report.phases for epoch in phase.epochs]
    validation = [epoch.validation_loss for phase in report.phases for epoch in phase.epochs]
    known = [loss for loss in (*losses, *validation) if loss is not None]
    if len(losses) < 2:
        return
    across = interval([1.0, float(len(losses))], "epoch", lambda tick: f"{tick:g}", margin=0.02)
    frame = Frame(across, interval(known, "loss", lambda tick: f"{tick:.3g}"), 220)
    shapes = [*_line(frame, losses, 0), *_line(frame, validation, 1)]
    names = ["training samples"] + ["validation samples"] * any(loss is not None for loss in validation)
    label = f"Loss over {len(losses)} epochs, from {losses[0]:.3g} to {losses[-1]:.3g}"
    values = Values(_HEADER, list(epochs(report)), words=(0, 1))
    yield chart("Loss by epoch", "All techniques in turn.", [drawing(frame, label, shapes), legend(names)], values)


def _line(frame: Frame, losses: Sequence[float | None], number: int) -> Iterator[Element]:
    known = [(epoch, loss) for epoch, loss in enumerate(losses, 1) if loss is not None]
    points = [frame.point(epoch, loss) for epoch, loss in known]
    if len(points) > 1:
        yield frame.line(points, f"line s{number}")
    for point, (epoch, loss) in zip(points, known, strict=True):
        yield frame.dot(point, f"series small s{number}", f"epoch {epoch}: {loss:.4g}")
