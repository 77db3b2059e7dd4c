"""Which ops lose what as integers, and why: each tried in float and alone, every activation compared."""

from __future__ import annotations

from tflq.sensitivity.outcome import Outcome
from tflq.sensitivity.study import REPORT, Asked, sensitivity

__all__ = ["REPORT", "Asked", "Outcome", "sensitivity"]
