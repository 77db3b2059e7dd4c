"""The axes of charts: from values to places between 0 and 1, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

LOG_RATIO = 12.0
"""From this ratio of the largest to the smallest value, sizes and times have a logarithmic axis."""
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    label: str
    text: Callable[[float], str]
    """The function that formats the value of a tick."""
    is_logarithmic: bool = False
    is_reversed: bool = False
    """Whether the largest value is at place 0."""

    def place(self, value: float) -> float:
        """Return where the value is, from 0 to 1. A value outside of the axis is at its end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low)
        return 1 - share if self.is_reversed else share

    @property
    def reversed(self) -> Axis:
        return replace(self, is_reversed=True)


def amounts(values: Sequence[float], label: str, text: Callable[[float], str]) -> Axis:
    """Return an axis for sizes or times, from 0. If they differ by a large ratio, it is logarithmic."""
    smallest, largest = min(values), max(values)
    if smallest > 0 and largest / smallest >= LOG_RATIO:
        low, high = smallest / 1.4, largest * 1.4
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        marks = [mark * 10.0**exponent for exponent in exponents for mark in (1, 2, 5)]
        ticks = [tick for tick in marks if low <= tick <= high]
        while len(ticks) > 6:
            ticks = ticks[::2]
        return Axis(low, high, tuple(ticks), label, text, is_logarithmic=True)
    high = largest * 1.08 or 1.0
    return Axis(0.0, high, _round_numbers(0.0, high, 5), label, text)


def interval(values: Sequence[float], label: str, text: Callable[[float], str], margin: float = 0.08) -> Axis:
    """Return an axis that is a little longer than the interval of the values."""
    smallest, largest = min(values), max(values)
    width = (largest - smallest) or abs(largest) * 0.1 or 1.0
    low, high = smallest - margin * width, largest + margin * width
    return Axis(low, high, _round_numbers(low, high, 5), label, text)


def _round_numbers(low: float, high: float, count: int) -> tuple[float, ...]:
    """Return at most about `count` multiples of a round step."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in _STEPS if step * power >= raw * 0.999)
    return tuple(number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1))
