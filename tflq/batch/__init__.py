"""Many recipes: what must be made, where, and how it went; past failures, and from where the last run stopped."""

from __future__ import annotations

from tflq.batch.events import BatchEvent, BatchPlanned, ModelFinished, ModelProgress, ModelStarted
from tflq.batch.run import BatchOptions, make, plan
from tflq.batch.zoo import Batch, chosen, collect

__all__ = [
    "Batch",
    "BatchEvent",
    "BatchOptions",
    "BatchPlanned",
    "ModelFinished",
    "ModelProgress",
    "ModelStarted",
    "chosen",
    "collect",
    "make",
    "plan",
]
