"""The ranges that every variant is quantized with, and what there is to say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tflq.calibrate.calibrated import Calibrated, Observed
from tflq.calibrate.lint import Clip, clips, lone_samples, repeats, wide_ranges
from tflq.calibrate.ranges import Range, Span
from tflq.calibrate.samples import Gathered
from tflq.calibrate.section import Method
from tflq.worker import Report


@dataclass(frozen=True)
class Chosen:
    """The range of every activation, and how it was found."""

    by_bits: Mapping[int, tuple[Range, ...]]
    """For activations of 8 bits, and of 16."""
    clips: tuple[Clip, ...]
    warnings: tuple[str, ...]
    advice: tuple[str, ...]
    """Whether another method is worth a trial."""
    reason: str | None
    """Why TensorFlow's calibrator had to find them; None where the activations were observed from within."""


def choose(_: Report, calibrated: Calibrated, gathered: Gathered, method: Method, bits: Sequence[int]) -> Chosen:
    """The ranges by that method, for activations of each of so many bits."""
    by_bits = {width: calibrated.ranges(Span(method, width)) for width in bits}
    found = calibrated.found
    fewest = min(bits)
    clipped = clips(found, by_bits[fewest], fewest) if isinstance(found, Observed) else ()
    advice = wide_ranges(clipped) if method == "minmax" else ()
    return Chosen(by_bits, clipped, tuple(_warnings(calibrated, gathered)), tuple(advice), calibrated.reason)


def _warnings(calibrated: Calibrated, gathered: Gathered) -> Iterator[str]:
    yield from repeats(gathered)
    if isinstance(calibrated.found, Observed):
        yield from lone_samples(calibrated.found.observation, gathered)
