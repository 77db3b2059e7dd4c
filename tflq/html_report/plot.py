"""The shapes of charts as SVG. Across, places are shares of the width; so text keeps its size on every screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tflq.html_report.axis import Axis
from tflq.html_report.element import Content, element

Point = tuple[float, float]
"""A place in a chart: across and up, both from 0 to 1."""
_PATH_WIDTH = 1000
_CIRCLE = "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0Z"
_CROSS = "M-6 -4L-4 -6L0 -2L4 -6L6 -4L2 0L6 4L4 6L0 2L-4 6L-6 4L-2 0Z"
_SHAPES = {"failed": "M-7 0L0 -7L7 0L0 7Z", "poor": "M-6 6L0 -7L6 6Z", "broken": _CROSS, "error": _CROSS}
LETTER = 6.6
"""The width of a letter in pixels, on average."""


@dataclass(frozen=True)
class Frame:
    """The frame of a chart: its axes, and its height in pixels."""

    across: Axis
    up: Axis
    height: int = 260

    def point(self, across: float, up: float) -> Point:
        return self.across.place(across), self.up.place(up)

    def y(self, share: float) -> str:
        return f"{(1 - share) * self.height:.1f}"

    def grid(self) -> Iterable[Element]:
        """Yield lines and numbers of both axes, and the labels of the axes."""
        for tick in self.up.ticks:
            y = self.y(self.up.place(tick))
            yield element("line", {"class": "grid", "x1": "0", "x2": "100%", "y1": y, "y2": y})
            yield _text(self.up.text(tick), {"x": "0", "dx": "-8", "y": y, "dy": "4", "class": "tick end"})
        if self.up.label:
            yield _text(self.up.label, {"x": "0", "dx": "-48", "y": "-14", "class": "axis"})
        yield from self.scale(self.height)

    def scale(self, top: int = 0) -> Iterable[Element]:
        """Yield the ticks, the numbers and the label of the axis across."""
        for tick in self.across.ticks:
            x = percent(self.across.place(tick))
            yield element("line", {"class": "mark", "x1": x, "x2": x, "y1": str(top), "y2": str(top + 5)})
            yield _text(self.across.text(tick), {"x": x, "y": str(top + 20), "class": "tick middle"})
        yield _text(self.across.label, {"x": "100%", "y": str(top + 40), "class": "axis end"})

    def alone(self, shapes: Iterable[Element]) -> Element:
        """Return the SVG of those shapes, without axes."""
        return element("svg", {"width": "100%", "height": str(self.height), "overflow": "visible"}, *shapes)

    def line(self, points: Sequence[Point], style: str) -> Element:
        """Return a line through the points. Its width does not depend on the size of the chart."""
        places = [f"{x * _PATH_WIDTH:.1f} {self.y(y)}" for x, y in points]
        path = element("path", {"class": style, "d": "M" + "L".join(places), "vector-effect": "non-scaling-stroke"})
        box = f"0 0 {_PATH_WIDTH} {self.height}"
        size = {"width": "100%", "height": str(self.height), "preserveAspectRatio": "none", "overflow": "visible"}
        return element("svg", {"viewBox": box, **size}, path)

    def level(self, value: float, style: str, text: str) -> Iterable[Element]:
        """Yield a horizontal line at that value, with its name at the right."""
        y = self.y(self.up.place(value))
        yield element("line", {"class": style, "x1": "0", "x2": "100%", "y1": y, "y2": y})
        yield _text(text, {"x": "100%", "y": y, "dy": "-5", "class": f"name end {style}"})

    def dot(self, point: Point, style: str, tooltip: str) -> Element:
        """Return a mark at the point. Variants that failed have another shape, so that colour is not the only sign."""
        shape = _SHAPES.get(style.partition(" ")[0], _CIRCLE)
        place = {"x": percent(point[0]), "y": self.y(point[1]), "overflow": "visible"}
        return element("svg", place, element("path", {"class": style, "d": shape}, element("title", {}, tooltip)))

    def segment(self, start: Point, end: Point, style: str) -> Element:
        places = {"x1": percent(start[0]), "x2": percent(end[0]), "y1": self.y(start[1]), "y2": self.y(end[1])}
        return element("line", {"class": style, **places})

    def bar(self, left: float, right: float, top: float, style: str, tooltip: str) -> Element:
        """Return a vertical bar from the bottom to the place `top`."""
        places = {"x": percent(left), "width": percent(right - left), "y": self.y(top)}
        height = f"{max(top * self.height, 0):.1f}"
        return element("rect", {"class": style, **places, "height": height}, element("title", {}, tooltip))

    def names(self, places: Sequence[Point], names: Sequence[str], width: int, style: str) -> Iterable[Element]:
        """Yield the names beside their points, where they hide no other. `width` is that of the chart in pixels.

        A name without free space is left out.
        """
        taken = [_Box(x * width - 6, (1 - y) * self.height - 6, 12, 12) for x, y in places]
        for (x, y), name in zip(places, names, strict=True):
            for dx, dy, anchor in _SIDES:
                length = LETTER * len(name)
                left = x * width + dx - {"start": 0, "end": length, "middle": length / 2}[anchor]
                box = _Box(left, (1 - y) * self.height + dy - 11, length, 14)
                if left > -4 and left + length < width + 12 and not any(box.covers(other) for other in taken):
                    taken.append(box)
                    shift = {"dx": str(dx), "dy": str(dy), "class": f"name {anchor} {style}"}
                    yield _text(name, {"x": percent(x), "y": self.y(y), **shift})
                    break


_SIDES = (
    *((10, 4, "start"), (-10, 4, "end"), (0, -10, "middle"), (0, 20, "middle")),
    *((9, -9, "start"), (9, 18, "start"), (-9, -9, "end"), (-9, 18, "end")),
    *((0, -24, "middle"), (0, 34, "middle"), (9, -22, "start"), (-9, -22, "end")),
)
"""Where a name may be, seen from its point: across, down, and which end of it."""


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    width: float
    height: float

    def covers(self, other: _Box) -> bool:
        apart = self.left >= other.left + other.width or other.left >= self.left + self.width
        return not (apart or self.top >= other.top + other.height or other.top >= self.top + self.height)


def percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def drawing(frame: Frame, label: str, shapes: Iterable[Element]) -> Element:
    """Return the SVG of a chart. `label` says in words what it shows, for those who do not see it."""
    svg = {"role": "img", "aria-label": label, "width": "100%", "height": str(frame.height), "overflow": "visible"}
    return element("div", {"class": "plot"}, element("svg", svg, *frame.grid(), *shapes))


def _text(text: Content, attributes: dict[str, str]) -> Element:
    return element("text", attributes, text)
