"""Many recipes: what must be made, where, and how it went; past failures, and from where the last run stopped."""

from __future__ import annotations

from tflq.batch.events import Began, Ended, Happening, Heard, Planned
from tflq.batch.run import Orders, make, plan
from tflq.batch.zoo import Batch, chosen, collect

__all__ = ["Batch", "Began", "Ended", "Happening", "Heard", "Orders", "Planned", "chosen", "collect", "make", "plan"]
