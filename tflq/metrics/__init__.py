"""Metrics, paired statistics and fidelity, in NumPy alone."""

from __future__ import annotations

from tflq.metrics.built_in import Custom, Metric, TopK, top_k_odds
from tflq.metrics.drop import Drop, paired_drop, uncertainty
from tflq.metrics.estimate import EQUAL_DB, Estimate, estimate_agreement, estimate_sqnr_db
from tflq.metrics.fidelity import Fidelity, errors, fidelity
from tflq.metrics.metric_list import METRIC_NAMES, METRICS, BuiltIn, built_in

__all__ = [
    "EQUAL_DB",
    "METRICS",
    "METRIC_NAMES",
    "BuiltIn",
    "Custom",
    "Drop",
    "Estimate",
    "Fidelity",
    "Metric",
    "TopK",
    "built_in",
    "errors",
    "estimate_agreement",
    "estimate_sqnr_db",
    "fidelity",
    "paired_drop",
    "top_k_odds",
    "uncertainty",
]
