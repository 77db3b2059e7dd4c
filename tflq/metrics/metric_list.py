"""All metrics that a recipe can name, and those that have keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Tag

from tflq.metrics.built_in import R2, BinaryAccuracy, Elementwise, MeanIoU, TopK
from tflq.metrics.custom import Custom
from tflq.metrics.detection import Detection
from tflq.metrics.f1 import F1
from tflq.metrics.metric import SampleMetric
from tflq.metrics.ndcg import Ndcg
from tflq.metrics.roc_auc import RocAuc
from tflq.metrics.word_errors import WordErrors
from tflq.strict import Strict

METRICS: tuple[SampleMetric, ...] = (
    TopK(1),
    TopK(5),
    Elementwise("mae"),
    Elementwise("rmse"),
    Elementwise("mse"),
    R2(),
    BinaryAccuracy(),
    F1(),
    RocAuc(),
    Ndcg(),
    Ndcg(10),
    MeanIoU(),
)
"""The built-in metrics. Recipes, the JSON Schema, the pages and `tflq init` take their names from this list."""
METRIC_NAMES = tuple(metric.name for metric in METRICS)
METRICS_WITH_KEYS: tuple[type[Detection] | type[WordErrors] | type[Custom], ...] = (Detection, WordErrors, Custom)
"""The metrics that are mappings. The first key of a class names it."""
METRIC_EXAMPLES = tuple(kind.EXAMPLE for kind in METRICS_WITH_KEYS)
METRIC_KEYS = tuple(next(iter(kind.model_fields)) for kind in METRICS_WITH_KEYS)


def _tag(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else vars(value) if isinstance(value, Strict) else ()
    return next((f"<{key}>" for key in METRIC_KEYS if key in keys), None)


if TYPE_CHECKING:
    BuiltIn = str
    MetricWithKeys = Detection | WordErrors | Custom
else:
    BuiltIn = Literal[METRIC_NAMES]
    _TAGGED = tuple(Annotated[kind, Tag(f"<{key}>")] for kind, key in zip(METRICS_WITH_KEYS, METRIC_KEYS, strict=True))
    MetricWithKeys = Annotated[reduce(or_, _TAGGED), Discriminator(_tag)]


def is_higher_better(metric: str | Mapping[str, Any]) -> bool:
    """Return whether higher values of the metric are better. `metric` is the value of the recipe's key."""
    if isinstance(metric, str):
        return built_in(metric).higher_is_better
    kind = next(kind for kind, key in zip(METRICS_WITH_KEYS, METRIC_KEYS, strict=True) if key in metric)
    field = kind.model_fields.get("higher_is_better")
    return bool(metric.get("higher_is_better", field.default) if field else kind.higher_is_better)


def built_in(name: BuiltIn) -> SampleMetric:
    """Return the metric of that name."""
    (metric,) = [metric for metric in METRICS if metric.name == name]
    return metric
