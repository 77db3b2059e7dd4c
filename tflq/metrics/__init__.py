"""Metrics, paired statistics and fidelity, in NumPy alone."""

from __future__ import annotations

from tflq.metrics.built_in import BuiltIn, Custom, Metric, TopK, built_in, top_k_odds
from tflq.metrics.drop import Drop, paired_drop
from tflq.metrics.fidelity import Fidelity, errors, fidelity

__all__ = [
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
]
