"""Which ops of a variant lose accuracy as integers, and why: ablation op by op, and a comparison of activations."""

from __future__ import annotations

from tflq.sensitivity.sensitivity_result import SensitivityResult
from tflq.sensitivity.study import REPORT, SensitivityRequest, sensitivity

__all__ = ["REPORT", "SensitivityRequest", "SensitivityResult", "sensitivity"]
