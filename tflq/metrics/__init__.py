"""Metrics, paired statistics and fidelity, in NumPy alone."""

from __future__ import annotations

from tflq.metrics.built_in import TopK, top_k_odds
from tflq.metrics.channel_figures import MIN_SAMPLES, Channels, centered_sqnr_db, channel_figures, dead_channels
from tflq.metrics.channels import ChannelSums, OutputRange, channel_sums, shift_of
from tflq.metrics.custom import Custom
from tflq.metrics.detection import Detection
from tflq.metrics.drop import Drop, paired_drop, uncertainty
from tflq.metrics.estimate import EQUAL_DB, Estimate, estimate_agreement, estimate_sqnr_db
from tflq.metrics.fidelity import Fidelity, errors, fidelity
from tflq.metrics.metric import Metric, SampleMetric, padded, stacked, value_of
from tflq.metrics.metric_list import (
    METRIC_EXAMPLES,
    METRIC_KEYS,
    METRIC_NAMES,
    METRICS,
    BuiltIn,
    MetricWithKeys,
    built_in,
    is_higher_better,
)
from tflq.metrics.word_errors import WordErrors

__all__ = [
    "EQUAL_DB",
    "METRICS",
    "METRIC_EXAMPLES",
    "METRIC_KEYS",
    "METRIC_NAMES",
    "MIN_SAMPLES",
    "BuiltIn",
    "ChannelSums",
    "Channels",
    "Custom",
    "Detection",
    "Drop",
    "Estimate",
    "Fidelity",
    "Metric",
    "MetricWithKeys",
    "OutputRange",
    "SampleMetric",
    "TopK",
    "WordErrors",
    "built_in",
    "centered_sqnr_db",
    "channel_figures",
    "channel_sums",
    "dead_channels",
    "errors",
    "estimate_agreement",
    "estimate_sqnr_db",
    "fidelity",
    "is_higher_better",
    "padded",
    "paired_drop",
    "shift_of",
    "stacked",
    "top_k_odds",
    "uncertainty",
    "value_of",
]
