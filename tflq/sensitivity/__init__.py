"""Which ops lose what as integers, and why: each tried in float and alone, every activation compared."""

from __future__ import annotations

from tflq.sensitivity.sensitivity_result import SensitivityResult
from tflq.sensitivity.study import REPORT, SensitivityRequest, sensitivity

__all__ = ["REPORT", "SensitivityRequest", "SensitivityResult", "sensitivity"]
