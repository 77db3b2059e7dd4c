"""The chart of all files of a batch: size against SQNR, with the files that no other one beats."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from tflq.batch.zoo_figures import ZooFile, zoo_front
from tflq.html_report.axis import amounts, interval
from tflq.html_report.element import element
from tflq.html_report.figure import Values, chart
from tflq.html_report.plot import Frame, drawing, percent

MAX_DOTS = 300
"""With more files, the chart shows how many files lie in each cell of a grid."""
COLUMNS, ROWS = 72, 32
SHADES = 5
"""The number of shades of the cells."""


def zoo_chart(files: Sequence[ZooFile]) -> Element:
    """Return the chart, with the table of the files that no other one beats."""
    best = zoo_front(files)
    frame = Frame(
        amounts(
            [each.ratio for each in files], "size, divided by that of the float32 file", lambda tick: f"{tick:.3g}"
        ),
        interval([each.sqnr_db for each in files], "SQNR in dB", lambda tick: f"{tick:.4g}"),
        height=320,
    )
    shapes = [*(_cells(frame, files) if len(files) > MAX_DOTS else _dots(frame, files, best))]
    shapes += [frame.dot(frame.point(each.ratio, each.sqnr_db), "ok best", _told(each)) for each in best]
    rows = [(each.model, each.row.name, f"{each.ratio:.4g}", f"{each.sqnr_db:.1f}") for each in best]
    explanation = "Filled marks: no other file of the zoo that is ok is smaller for its model and nearer to float32."
    if len(files) > MAX_DOTS:
        explanation += f" A cell is darker if more of the {len(files):,} files lie in it."
    return chart(
        "Size against fidelity over the zoo",
        explanation,
        [drawing(frame, f"Size against SQNR of {len(files)} files", shapes)],
        Values(("model", "variant", "size ratio", "SQNR dB"), rows, words=(0, 1)),
    )


def _told(each: ZooFile) -> str:
    return f"{each.model} {each.row.name}: ratio {each.ratio:.3g}, {each.sqnr_db:.1f} dB ({each.row.status})"


def _dots(frame: Frame, files: Sequence[ZooFile], best: Sequence[ZooFile]) -> Iterator[Element]:
    for each in files:
        if each not in best:
            yield frame.dot(frame.point(each.ratio, each.sqnr_db), each.row.status, _told(each))


def _cells(frame: Frame, files: Sequence[ZooFile]) -> Iterator[Element]:
    """Yield a rectangle for each cell of the grid with files, with their number as its tooltip."""
    counts: Counter[tuple[int, int]] = Counter()
    for each in files:
        across, up = frame.point(each.ratio, each.sqnr_db)
        counts[min(int(across * COLUMNS), COLUMNS - 1), min(int(up * ROWS), ROWS - 1)] += 1
    most = max(counts.values())
    height = frame.height / ROWS
    for (column, row), count in sorted(counts.items()):
        shade = 1 + round((SHADES - 1) * math.log(count) / math.log(most)) if most > 1 else SHADES
        place = {"x": percent(column / COLUMNS), "y": f"{frame.height - (row + 1) * height:.1f}"}
        box = {"width": percent(1 / COLUMNS), "height": f"{height:.1f}", "class": f"cell c{shade}"}
        yield element("rect", {**place, **box}, element("title", {}, f"{count:,} files"))
