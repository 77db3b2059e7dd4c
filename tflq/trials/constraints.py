"""What a file must reach: the recipe's gates, as trials are held to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from tflq.errors import RecipeError
from tflq.metrics import Drop
from tflq.recipe import Gates
from tflq.trials.measurements import Estimate, Measurements

Kind = Literal["max_metric_drop", "min_agreement", "min_sqnr_db", "max_size_bytes"]
NAMES: Mapping[Kind, str] = {
    "max_metric_drop": "the drop",
    "min_agreement": "agreement",
    "min_sqnr_db": "SQNR",
    "max_size_bytes": "the size",
}
IDEAL: Mapping[Kind, float] = {"max_metric_drop": 0.0, "min_agreement": 1.0}
"""Figures of a file that is no worse than the float32 file."""
HOPELESS = 4.0
"""Standard errors from the bar."""
NORMAL = 1.96
"""Standard errors from a figure to either end of its interval."""


@dataclass(frozen=True)
class Constraint:
    """One gate; `badness` is what grows as a file gets worse."""

    kind: Kind
    value: float

    def figure(self, figures: Measurements) -> Estimate | None:
        """What it is held against, of the worst output; None where it cannot be measured."""
        match self.kind:
            case "max_metric_drop":
                return figures.drop
            case "max_size_bytes":
                size = float(figures.file.size_bytes)
                return Estimate(size, size, size)
            case "min_sqnr_db":
                return _least(near.sqnr_db for near in figures.outputs.values())
            case "min_agreement":
                return _least(near.agreement for near in figures.outputs.values() if near.agreement)

    def better(self, margin: float) -> float:
        """The value that is harder to reach by so much, but never better than the float32 file itself."""
        if self.kind.startswith("max"):
            return min(max(self.value - margin, IDEAL.get(self.kind, self.value - margin)), self.value)
        return max(min(self.value + margin, IDEAL.get(self.kind, self.value + margin)), self.value)

    def loss(self, value: float) -> float:
        return value if self.kind.startswith("max") else -value

    def violation(self, figures: Measurements, look: int = 1) -> float:
        """By how much the figure is worse than the bar; above 0 it fails.

        A later look at the same samples asks for more, so that the k-th lets what is just at the bar pass by luck no
        more often than once in 2^k. Nothing more is asked of what is no worse than the float32 file there.
        """
        figure = self.figure(figures)
        if figure is None:
            return float("inf")
        reach = abs(_worse_end(self, figure) - figure.value) / NORMAL * NormalDist().inv_cdf(1 - 0.5**look)
        is_ideal = self.kind in IDEAL and self.loss(figure.value) <= self.loss(IDEAL[self.kind])
        return self.loss(figure.value) + (0.0 if is_ideal else reach) - self.loss(self.value)

    def is_hopeless(self, figures: Measurements) -> bool:
        """Whether the figure fails by so much that more samples would not help."""
        figure = self.figure(figures)
        if figure is None or self.kind == "max_size_bytes":
            return False
        reach = abs(_worse_end(self, figure) - figure.value) / NORMAL * HOPELESS
        return self.loss(figure.value) - reach > self.loss(self.value)

    def is_certain(self, figures: Measurements) -> bool:
        """Whether all of the figure's interval is on the right side."""
        figure = self.figure(figures)
        return figure is not None and self.loss(_worse_end(self, figure)) <= self.loss(self.value)

    def samples_needed(self, figures: Measurements) -> int | None:
        """Samples that would tell the figure from the bar; None where nothing would."""
        figure = self.figure(figures)
        if figure is None or figure.low == figure.high:
            return None
        deviation = (figure.high - figure.low) / 2 / NORMAL * figures.samples**0.5
        found = Drop(figure.value, figure.low, figure.high, figures.samples, deviation)
        return found.samples_to_tell_from(self.value)

    def in_words(self, figures: Measurements) -> str:
        """The figure with half of its interval, as `the drop is 0.0040 ±0.0031`."""
        figure = self.figure(figures)
        if figure is None:
            return f"{NAMES[self.kind]} cannot be measured"
        return f"{NAMES[self.kind]} is {self.shown(figure.value)}{_margin(self, figure)}"

    def shown(self, value: float) -> str:
        match self.kind:
            case "max_size_bytes":
                return f"{value:,.0f} bytes"
            case "min_sqnr_db":
                return f"{value:.1f} dB"
            case _:
                return f"{value:.4f}"

    def __str__(self) -> str:
        return f"{self.kind} {self.value:g}"


def _least(figures: Iterable[Estimate]) -> Estimate | None:
    return min(figures, key=lambda figure: figure.value, default=None)


def _worse_end(constraint: Constraint, figure: Estimate) -> float:
    return max(figure.low, figure.high, key=constraint.loss)


def _margin(constraint: Constraint, figure: Estimate) -> str:
    half = (figure.high - figure.low) / 2
    return f" ±{constraint.shown(half).removesuffix(' dB')}" if half else ""


def constraints(gates: Gates, float32_bytes: int) -> tuple[Constraint, ...]:
    """The gates that there are; RecipeError where there is none to reach but a size."""
    given: dict[Kind, float | None] = {
        "max_metric_drop": gates.max_metric_drop,
        "min_agreement": gates.min_agreement,
        "min_sqnr_db": gates.min_sqnr_db,
    }
    sizes = [gates.max_size_bytes, gates.max_size_ratio and int(gates.max_size_ratio * float32_bytes)]
    given["max_size_bytes"] = min((float(size) for size in sizes if size), default=None)
    return tuple(Constraint(kind, value) for kind, value in given.items() if value is not None)


def refuse_none(gates: Gates) -> None:
    """RecipeError where no gate says how good is good enough."""
    if gates.max_metric_drop is None and gates.min_agreement is None and gates.min_sqnr_db is None:
        raise RecipeError(
            "how good is good enough? Give --max-drop, --min-agreement or --min-sqnr, or gates in the recipe"
        )


def worst(constraints: Sequence[Constraint], figures: Measurements) -> Constraint:
    """The bar that is failed most, or met least."""
    return max(constraints, key=lambda constraint: relative_violation(constraint, figures))


def relative_violation(constraint: Constraint, figures: Measurements) -> float:
    """By how much it is failed, as a part of it, so that bars of several kinds compare."""
    return float("inf") if figures.fault else constraint.violation(figures) / max(abs(constraint.value), 1e-9)
