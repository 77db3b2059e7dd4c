"""The fidelity of each activation along the graph of a variant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ActivationSqnr:
    """An activation, in the order of the graph."""

    op: str
    """The type of the op that computes it; `input` for an input of the model."""
    tensor: str
    sqnr_db: float
    """The SQNR against the float32 file in dB."""


@dataclass(frozen=True)
class WeightRange:
    """The weights of an op that loses much SQNR, in the float32 model."""

    op: str
    tensor: str
    lost_db: float
    """What the op loses between its worst input and its output."""
    peaks: tuple[float, ...]
    """The largest magnitude in each output channel."""


@dataclass(frozen=True)
class LayerFigures:
    """The activations of one variant, compared with those of the float32 model that it was quantized from."""

    calls: int
    """The number of calls that the figures are from."""
    layers: tuple[ActivationSqnr, ...] = ()
    first_fall: int | None = None
    """The place in `layers` of the first large fall of the SQNR; None if there is none."""
    before_db: float | None = None
    """The SQNR of the worst input of that op."""
    weights: tuple[WeightRange, ...] = ()
    """The weights of the ops that lose most."""
    obstacle: str = ""
    """The reason why the activations were not compared; empty if they were."""
