"""The result of a sensitivity study, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tflq.evaluate.section import Evaluation
from tflq.layerwise import Activation, LocalLoss
from tflq.sensitivity.ablation import OpEffect
from tflq.sensitivity.error_split import ErrorSplit
from tflq.sensitivity.groups import By
from tflq.trials import Measurements, OutputFidelity, Trial, TrialResult, quality


@dataclass(frozen=True)
class SensitivityResult:
    """The effects of all groups of ops of one variant, and the comparison of its activations."""

    name: str
    trial: Trial
    """The variant under study, and the method of its ranges."""
    is_relaxed: bool
    """Whether the variant of the recipe is strict, so that the study had to allow float ops."""
    by: By
    base: Measurements
    """The measurements of the variant itself."""
    samples: str
    """A sentence that says which rows are used."""
    evaluation: Evaluation
    tensors: tuple[Activation, ...]
    """All compared activations, in the order of the graph."""
    losses: tuple[LocalLoss, ...]
    first_bad: LocalLoss | None
    split: ErrorSplit
    effects: tuple[OpEffect, ...]
    """The effects of all groups, the best first."""
    remedies: tuple[TrialResult, ...]
    """The results of other options of the same mode, without more ops in float."""
    notes: tuple[str, ...]
    types: Mapping[int, str]
    """The type of each op of the main graph, by its number."""
    is_spent: bool
    """Whether the limits ended the study before all trials ran."""

    def decibels(self, figures: Measurements) -> float:
        """Return the SQNR in dB that the study compares."""
        return quality(figures, self.evaluation)

    def of_outputs(self, outputs: Mapping[str, OutputFidelity]) -> float:
        """Return the same SQNR from the fidelity of outputs."""
        return min(outputs[name].sqnr_db.value for name in self.evaluation.scored(list(outputs)))
