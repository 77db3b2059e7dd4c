"""The quality of each variant on one scale: the metric, or without a metric the SQNR."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tflq.recipe import Recipe
from tflq.result import Result, Variant


@dataclass(frozen=True)
class Quality:
    """The quality of one variant."""

    value: float | None
    """The metric or the SQNR in dB; None if the outputs equal those of the float32 file, so that there is no SQNR."""
    margin: float = 0.0
    """Half the width of the 95 % interval of the difference from the float32 file."""


@dataclass(frozen=True)
class QualityScale:
    """What the quality is measured in."""

    name: str
    higher_is_better: bool
    is_metric: bool

    def text(self, value: float) -> str:
        return f"{value:.4g}"


def scale(result: Result, recipe: Recipe) -> QualityScale:
    metric = recipe.measured_on.scoring
    if result.metric is None or metric is None:
        return QualityScale("SQNR in dB", higher_is_better=True, is_metric=False)
    return QualityScale(result.metric, metric.higher_is_better, is_metric=True)


def quality(variant: Variant, of: QualityScale) -> Quality | None:
    """Return the quality of the variant; None if it was not measured, or is not a number."""
    measured = variant.measured
    if measured is None:
        return None
    if of.is_metric:
        score = measured.metric
        if score is None or not math.isfinite(score.value):
            return None
        margin = (score.ci95[1] - score.ci95[0]) / 2
        return Quality(score.value, margin if math.isfinite(margin) else 0.0)
    ratios = [output.sqnr_db for output in measured.fidelity.values() if output.sqnr_db is not None]
    return Quality(min(ratios) if ratios else None)
