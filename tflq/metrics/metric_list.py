"""All metrics that a recipe can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tflq.metrics.built_in import R2, BinaryAccuracy, Elementwise, MeanIoU, Metric, TopK

METRICS: tuple[Metric, ...] = (
    TopK(1),
    TopK(5),
    Elementwise("mae"),
    Elementwise("rmse"),
    Elementwise("mse"),
    R2(),
    BinaryAccuracy(),
    MeanIoU(),
)
"""The built-in metrics. Recipes, the JSON Schema, the pages and `tflq init` take their names from this list."""
METRIC_NAMES = tuple(metric.name for metric in METRICS)

if TYPE_CHECKING:
    BuiltIn = str
else:
    BuiltIn = Literal[METRIC_NAMES]


def built_in(name: BuiltIn) -> Metric:
    """Return the metric of that name."""
    (metric,) = [metric for metric in METRICS if metric.name == name]
    return metric
