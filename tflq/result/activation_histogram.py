"""The values of an activation on the calibration samples, in bins for a chart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ActivationHistogram:
    """The distribution of one activation in the float32 file."""

    tensor: str
    edges: tuple[float, ...]
    """The ends of the bins, one more than there are shares. They span the observed values."""
    shares: tuple[float, ...]
    """The share of all values in each bin, from 0 to 1."""
    minimum: float
    """The range that integers span, by the recipe's method for the fewest bits: its minimum and maximum."""
    maximum: float
    clipped: float
    """The share of values outside of that range."""
    usual: tuple[float, float]
    """The range of the middle 99.9 % of the values."""
