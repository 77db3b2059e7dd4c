"""Metrics, paired statistics and fidelity, in NumPy alone."""

from __future__ import annotations

from tflq.metrics.built_in import Custom, Metric, TopK, top_k_odds
from tflq.metrics.channel_figures import MIN_SAMPLES, Channels, centered_sqnr_db, channel_figures, dead_channels
from tflq.metrics.channels import ChannelSums, OutputRange, channel_sums, shift_of
from tflq.metrics.drop import Drop, paired_drop, uncertainty
from tflq.metrics.estimate import EQUAL_DB, Estimate, estimate_agreement, estimate_sqnr_db
from tflq.metrics.fidelity import Fidelity, errors, fidelity
from tflq.metrics.metric_list import METRIC_NAMES, METRICS, BuiltIn, built_in

__all__ = [
    "EQUAL_DB",
    "METRICS",
    "METRIC_NAMES",
    "MIN_SAMPLES",
    "BuiltIn",
    "ChannelSums",
    "Channels",
    "Custom",
    "Drop",
    "Estimate",
    "Fidelity",
    "Metric",
    "OutputRange",
    "TopK",
    "built_in",
    "centered_sqnr_db",
    "channel_figures",
    "channel_sums",
    "dead_channels",
    "errors",
    "estimate_agreement",
    "estimate_sqnr_db",
    "fidelity",
    "paired_drop",
    "shift_of",
    "top_k_odds",
    "uncertainty",
]
