"""Constraints: the gates of the recipe, which the file of each trial must pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from tflq.errors import RecipeError
from tflq.metrics.drop import Drop
from tflq.metrics.estimate import Estimate
from tflq.recipe import Gates
from tflq.trials.measurements import Measurements

Kind = Literal["max_metric_drop", "min_agreement", "min_sqnr_db", "max_size_bytes", "max_dead_channels"]
NAMES: Mapping[Kind, str] = {
    "max_metric_drop": "the drop",
    "min_agreement": "agreement",
    "min_sqnr_db": "SQNR",
    "max_size_bytes": "the size",
    "max_dead_channels": "the number of dead channels",
}
IDEAL: Mapping[Kind, float] = {"max_metric_drop": 0.0, "min_agreement": 1.0}
"""The values of a file that is no worse than the float32 file."""
HOPELESS = 4.0
"""A value that violates its limit by this many standard errors is hopeless."""
NORMAL = 1.96
"""Standard errors from an estimate to either end of its 95 % interval."""
SYMMETRIC = 1.5
"""An interval is given by both ends if one is this many times as far from the value as the other."""


@dataclass(frozen=True)
class StandardErrors:
    """The standard errors on both sides of an estimate, as a skewed interval has them."""

    toward_worse: float
    toward_better: float


@dataclass(frozen=True)
class Constraint:
    """One gate and its limit. Its `loss` grows as a file gets worse."""

    kind: Kind
    value: float

    def estimate(self, figures: Measurements) -> Estimate | None:
        """Return the measured value of the worst output, or None if it cannot be measured."""
        match self.kind:
            case "max_metric_drop":
                return figures.drop
            case "max_size_bytes":
                size = float(figures.file.size_bytes)
                return Estimate(size, size, size)
            case "max_dead_channels":
                count = float(figures.dead_channels)
                return Estimate(count, count, count)
            case "min_sqnr_db":
                return _lowest(near.sqnr_db for near in figures.outputs.values())
            case "min_agreement":
                return _lowest(near.agreement for near in figures.outputs.values() if near.agreement)

    def loss(self, value: float) -> float:
        """Return the value with the sign that makes larger mean worse."""
        return value if self.kind.startswith("max") else -value

    def violation(self, figures: Measurements, look: int = 1, inflation: float = 1.0) -> float:
        """Return how much the measured value is worse than the limit. Above 0, the file fails.

        Each further look at the same samples is stricter. At look k, a file exactly at the limit passes by luck with
        probability 2^-k. A file that is no worse than the float32 file needs no margin. `inflation` multiplies the
        standard error.
        """
        estimate = self.estimate(figures)
        if estimate is None:
            return float("inf")
        if self.kind == "max_dead_channels" and estimate.value <= self.value:
            return -float("inf")  # fewer dead channels than allowed are no better
        reach = inflation * self.errors_of(estimate).toward_worse * NormalDist().inv_cdf(1 - 0.5**look)
        is_ideal = self.kind in IDEAL and self.loss(estimate.value) <= self.loss(IDEAL[self.kind])
        return self.loss(estimate.value) + (0.0 if is_ideal else reach) - self.loss(self.value)

    def margin(self, figures: Measurements, spread: float) -> float:
        """Return by how many standard errors the measured value is better than the limit. Below 0, the file fails.

        `spread` is a further error of the value, which is added to the variance.
        """
        estimate = self.estimate(figures)
        if estimate is None:
            return -float("inf")
        difference, error = -self.violation(figures), math.hypot(self.errors_of(estimate).toward_worse, spread)
        return difference / error if error else math.copysign(math.inf, difference)

    def errors_of(self, estimate: Estimate) -> StandardErrors:
        """Return the standard errors on both sides of the estimate, from its 95 % interval."""
        low, high = (estimate.value - estimate.low) / NORMAL, (estimate.high - estimate.value) / NORMAL
        return StandardErrors(high, low) if self.kind.startswith("max") else StandardErrors(low, high)

    def is_hopeless(self, figures: Measurements) -> bool:
        """Return whether the file fails so clearly that more samples would not help."""
        estimate = self.estimate(figures)
        if estimate is None or self.kind in ("max_size_bytes", "max_dead_channels"):
            return False
        return self.loss(estimate.value) - HOPELESS * self.errors_of(estimate).toward_better > self.loss(self.value)

    def is_certain(self, figures: Measurements) -> bool:
        """Return whether the whole 95 % interval is on the passing side of the limit."""
        estimate = self.estimate(figures)
        return estimate is not None and self.loss(_worse_end(self, estimate)) <= self.loss(self.value)

    def is_settled(self, figures: Measurements) -> bool:
        """Return whether the whole 95 % interval is on one side of the limit."""
        estimate = self.estimate(figures)
        return estimate is None or not estimate.low <= self.value <= estimate.high

    def samples_needed(self, figures: Measurements) -> int | None:
        """Return the number of samples that separates the value from the limit, or None if no number would."""
        estimate = self.estimate(figures)
        if estimate is None or estimate.low == estimate.high:
            return None
        deviation = (estimate.high - estimate.low) / 2 / NORMAL * figures.samples**0.5
        drop = Drop(estimate.value, estimate.low, estimate.high, figures.samples, deviation)
        return drop.samples_to_tell_from(self.value)

    def in_words(self, figures: Measurements) -> str:
        """Return the value with its interval, such as `the drop is 0.0040 ±0.0031`."""
        estimate = self.estimate(figures)
        if estimate is None:
            return f"{NAMES[self.kind]} cannot be measured"
        return f"{NAMES[self.kind]} is {self.format_value(estimate.value)}{_interval(self, estimate)}"

    def format_value(self, value: float) -> str:
        """Return the value with its unit, rounded for people."""
        match self.kind:
            case "max_size_bytes":
                return f"{value:,.0f} bytes"
            case "max_dead_channels":
                return f"{value:.0f}"
            case "min_sqnr_db":
                return f"{value:.1f} dB"
            case _:
                return f"{value:.4f}"

    def __str__(self) -> str:
        return f"{self.kind} {self.value:g}"


def _lowest(estimates: Iterable[Estimate]) -> Estimate | None:
    return min(estimates, key=lambda estimate: estimate.value, default=None)


def _worse_end(constraint: Constraint, estimate: Estimate) -> float:
    return max(estimate.low, estimate.high, key=constraint.loss)


def _interval(constraint: Constraint, estimate: Estimate) -> str:
    """Return the interval in words: half its width, or both ends if the value is far from its middle."""
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    if below == above == 0:
        return ""
    if max(below, above) > SYMMETRIC * min(below, above):
        low, high = (constraint.format_value(end).removesuffix(" dB") for end in (estimate.low, estimate.high))
        return f" (95 %: {low} to {high})"
    return f" ±{constraint.format_value((below + above) / 2).removesuffix(' dB')}"


def constraints(gates: Gates, float32_bytes: int) -> tuple[Constraint, ...]:
    """Return a constraint for each gate of the recipe. `float32_bytes` turns a size ratio into a size in bytes."""
    limits: dict[Kind, float | None] = {
        "max_metric_drop": gates.max_metric_drop,
        "min_agreement": gates.min_agreement,
        "min_sqnr_db": gates.min_sqnr_db,
    }
    sizes = [gates.max_size_bytes, gates.max_size_ratio and int(gates.max_size_ratio * float32_bytes)]
    sizes.append(gates.max_flash_kb and int(1000 * gates.max_flash_kb))
    limits["max_size_bytes"] = min((float(size) for size in sizes if size), default=None)
    limits["max_dead_channels"] = gates.max_dead_channels
    return tuple(Constraint(kind, value) for kind, value in limits.items() if value is not None)


def refuse_none(gates: Gates) -> None:
    """Raise RecipeError if the recipe has no gate on accuracy or fidelity."""
    if gates.max_metric_drop is None and gates.min_agreement is None and gates.min_sqnr_db is None:
        raise RecipeError(
            "the recipe has no gate on accuracy: give --max-drop, --min-agreement or --min-sqnr, or gates in the recipe"
        )


def worst(constraints: Sequence[Constraint], figures: Measurements) -> Constraint:
    """Return the constraint with the largest relative violation."""
    return max(constraints, key=lambda constraint: relative_violation(constraint, figures))


def relative_violation(constraint: Constraint, figures: Measurements) -> float:
    """Return the violation divided by the limit, so that constraints of different kinds can be compared."""
    return float("inf") if figures.fault else constraint.violation(figures) / max(abs(constraint.value), 1e-9)
