"""What a study of sensitivity yields, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tflq.evaluate import Evaluation
from tflq.sensitivity.ablation import OpEffect
from tflq.sensitivity.error_split import ErrorSplit
from tflq.sensitivity.groups import By
from tflq.sensitivity.tensors import Activation, LocalLoss
from tflq.trials import Measurements, OutputFidelity, Trial, TrialResult, quality


@dataclass(frozen=True)
class SensitivityResult:
    name: str
    trial: Trial
    """The variant that was studied, and its ranges."""
    is_relaxed: bool
    """Whether the recipe's is strict, where trials have to leave ops in float."""
    by: By
    base: Measurements
    """With all quantized that can be."""
    samples: str
    """Which they are, for people."""
    evaluation: Evaluation
    tensors: tuple[Activation, ...]
    losses: tuple[LocalLoss, ...]
    first_bad: LocalLoss | None
    split: ErrorSplit
    effects: tuple[OpEffect, ...]
    """Best first."""
    remedies: tuple[TrialResult, ...]
    """Other options of the same mode, with nothing more in float."""
    notes: tuple[str, ...]
    types: Mapping[int, str]
    """Of each op of the main graph."""
    is_spent: bool
    """Whether the limits ended it before all was tried."""

    def decibels(self, figures: Measurements) -> float:
        return quality(figures, self.evaluation)

    def of_outputs(self, outputs: Mapping[str, OutputFidelity]) -> float:
        """The same of figures that are of outputs alone."""
        scored = [self.evaluation.output or next(iter(outputs))] if self.evaluation.metric else list(outputs)
        return min(outputs[name].sqnr_db.value for name in scored)
