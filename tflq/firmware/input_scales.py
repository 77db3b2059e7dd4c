"""V16: whether the scale of an integer input is that of the recipe, and whether it covers the values that are fed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from tflq.firmware.io_row import IoRow
from tflq.firmware.real_numbers import Affine
from tflq.inputs.checks import InputSummary
from tflq.inputs.schema import Input
from tflq.rules.effect import Severity
from tflq.rules.violation import Violation

_CLOSE = 1e-4
_SPARE = 0.02
"""The part of a range by which the values may exceed it: the brightest pixels of the samples are seldom 255."""
_USUAL = ((0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5))
"""The ranges of values to which pixels are scaled."""


def input_scale_violations(
    rows: Sequence[IoRow], inputs: Mapping[str, Input], summaries: Sequence[InputSummary]
) -> Iterator[Violation]:
    """Yield an error for an input that is not quantized as the recipe asks, and warnings for values that are clipped.

    `summaries` are of the calibration samples.
    """
    seen = {summary.name: summary for summary in summaries}
    for row in rows:
        config = inputs.get(row.name, Input())
        if row.side == "out" or row.dtype == "float32":
            continue
        if config.quantization is not None:
            yield from _pinned(row, config)
            yield from _clipped(row, seen.get(row.name))
        elif row.affine is not None and row.dtype in ("int8", "uint8"):
            yield from _narrow(row, row.affine, config)


def _pinned(row: IoRow, config: Input) -> Iterator[Violation]:
    key = f"inputs.{row.name}.quantization"
    if row.affine is None:
        yield _violation(row, f"is {row.dtype} without a scale, so {key} has no effect: remove it", "error")
        return
    try:
        asked = config.quantized_as(row.dtype)
    except ValueError as error:
        yield _violation(row, f"is not quantized as {key} asks: {error}", "error")
        return
    is_close = math.isclose(asked.scale, row.affine.scale, rel_tol=_CLOSE)
    if not is_close or asked.zero_point != row.affine.zero_point:
        asked_for = f"scale {asked.scale:.6g} and zero point {asked.zero_point}"
        message = (
            f"has scale {row.affine.number} and zero point {row.affine.zero_point}, but {key} asks for {asked_for}:"
            " the range of this input is fixed by an op that reads it, or by training"
        )
        yield _violation(row, message, "error")


def _clipped(row: IoRow, summary: InputSummary | None) -> Iterator[Violation]:
    if summary is None or row.affine is None:
        return
    low, high = row.affine.real_limits
    slack = row.affine.scale
    if summary.minimum < low - slack or summary.maximum > high + slack:
        values = f"{summary.minimum:.4g} to {summary.maximum:.4g}"
        message = (
            f"covers {low:.4g} to {high:.4g} by inputs.{row.name}.quantization, but calibration samples are {values}:"
            " the rest is clipped"
        )
        yield _violation(row, message, "warning")


def _narrow(row: IoRow, affine: Affine, config: Input) -> Iterator[Violation]:
    """Warn if calibration saw dim pictures only, so that bright pixels are clipped, and raw ones are misread."""
    expected = _pixel_range(config)
    if expected is None:
        return
    (low, high), (least, most) = affine.real_limits, expected
    slack = _SPARE * (most - least)
    if low > least + slack or high < most - slack:
        source = f"inputs.{row.name}.range says" if config.range else "pixels become"
        message = (
            f"covers {low:.3g} to {high:.3g} by its calibration, but {source} {least:g} to {most:g}: the rest is"
            f" clipped, and raw pixels would be misread. Set inputs.{row.name}.quantization to pixels, or to a scale"
        )
        yield _violation(row, message, "warning")


def _pixel_range(config: Input) -> tuple[float, float] | None:
    """Return the values that an input can have, if the recipe says it or makes them from pixels; else None."""
    if config.range is not None or config.scaling is None:
        return config.range
    scale, offset = config.scaling
    ends = min(offset, 255 * scale + offset), max(offset, 255 * scale + offset)
    is_image = config.size is not None or config.channels != "rgb"
    is_usual = any(all(math.isclose(a, b, abs_tol=0.01) for a, b in zip(ends, usual, strict=True)) for usual in _USUAL)
    return ends if is_image or is_usual else None


def _violation(row: IoRow, message: str, severity: Severity) -> Violation:
    return Violation("V16", f"input {row.name!r}", message, severity)
