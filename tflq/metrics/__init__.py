"""Metrics, paired statistics and fidelity, in NumPy alone."""

from __future__ import annotations

from tflq.metrics.built_in import Custom, Metric, TopK, top_k_odds
from tflq.metrics.drop import Drop, paired_drop, uncertainty
from tflq.metrics.fidelity import Fidelity, errors, fidelity
from tflq.metrics.metric_list import METRIC_NAMES, METRICS, BuiltIn, built_in

__all__ = [
    "METRICS",
    "METRIC_NAMES",
    "BuiltIn",
    "Custom",
    "Drop",
    "Fidelity",
    "Metric",
    "TopK",
    "built_in",
    "errors",
    "fidelity",
    "paired_drop",
    "top_k_odds",
    "uncertainty",
]
