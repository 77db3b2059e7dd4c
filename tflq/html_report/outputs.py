"""Where accuracy goes: the fidelity of each output of each variant."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from tflq.html_report.channels import channel_chart
from tflq.html_report.element import paragraph
from tflq.html_report.figure import Values, code, hint, section, table
from tflq.html_report.layers import layer_chart
from tflq.report import fidelity
from tflq.result import Output, Result

_OF_CHANNELS = ("worst channel", "dead", "saturated")
_HEADER = ("output", "variant", *fidelity.HEADER, *_OF_CHANNELS)


MAX_CHARTS = 6
"""The most outputs with a chart of their channels."""
_PSNR = " PSNR is that of images; its peak is the range of the float32 file's output."
_DEAD = (
    "A dead channel varies in the float32 file, but is constant in the file. A common cause is one scale for"
    " channels of very different ranges."
)


def outputs(result: Result) -> Element | None:
    """Return the section; None if no variant was measured."""
    measured = [(variant.name, variant.measured.fidelity) for variant in result.variants if variant.measured]
    names = list(dict.fromkeys(name for _, outputs in measured for name in outputs))
    if not names:
        return None
    rows = [(name, variant, *_row(outputs[name])) for name in names for variant, outputs in measured if name in outputs]
    shown = fidelity.filled(_HEADER, rows)
    values = Values(shown.header, shown.rows, words=(0, 1))
    lead = paragraph(
        "Each output is compared with that of the float32 file on the same samples. SQNR is the signal-to-quantization-"
        "noise ratio: 20 dB more is a tenth of the error. Cosine is the mean over samples of the cosine similarity. The"
        " largest error is absolute, in the unit of the output. Agree is the share of samples with the same top class.",
        _PSNR if "PSNR dB" in shown.header else "",
    )
    more = hint(code("tflq sensitivity"), " finds the op that loses the accuracy, and says why.")
    parts = [lead, table("Fidelity of the outputs", values)]
    if any(has_dead(output) for _, outputs in measured for output in outputs.values()):
        parts.append(paragraph(_DEAD))
    parts += layer_chart(result)
    charts = (channel_chart(result, name) for name in names[:MAX_CHARTS])
    parts += [each for each in charts if each is not None]
    return section("outputs", "Where accuracy goes", *parts, more)


def has_dead(output: Output) -> bool:
    return output.channels is not None and bool(output.channels.dead)


def _row(output: Output) -> tuple[str, ...]:
    figures = fidelity.cells(output)
    if output.channels is None:
        return *figures, "", "", ""
    channels, worst = output.channels, output.channels.worst_sqnr_db
    lowest = "equal" if worst is None else f"{worst:.1f} dB ({channels.worst})"
    return (
        *figures,
        lowest,
        f"{len(channels.dead)} of {channels.count}",
        f"{len(channels.saturated)} of {channels.count}",
    )
