"""Batches: many recipes are converted, on this machine or on a cluster, and up-to-date models are skipped."""

from __future__ import annotations

from tflq.batch.events import BatchEvent, BatchNote, BatchPlanned, ModelFinished, ModelProgress, ModelStarted
from tflq.batch.run import BatchOptions, make, plan
from tflq.batch.zoo import Batch, collect, select, without_code

__all__ = [
    "Batch",
    "BatchEvent",
    "BatchNote",
    "BatchOptions",
    "BatchPlanned",
    "ModelFinished",
    "ModelProgress",
    "ModelStarted",
    "collect",
    "make",
    "plan",
    "select",
    "without_code",
]
