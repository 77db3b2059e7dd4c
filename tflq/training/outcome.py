"""What training leaves: models, and how they came about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflq.training.schema import Technique


@dataclass(frozen=True)
class Epoch:
    """The means over one epoch; of the validation, after it."""

    loss: float
    metric: float
    validation_loss: float | None
    validation_metric: float | None
    seconds: float


@dataclass(frozen=True)
class Phase:
    """One technique's training."""

    technique: Technique
    epochs: tuple[Epoch, ...]
    kept: int
    """The epoch whose weights are kept, from 1."""
    resumed_after: int
    """Epochs that an interrupted run before had done."""


@dataclass(frozen=True)
class Trained:
    """Models that training made, as SavedModels, and how."""

    floating: Path | None
    """As pruning or clustering left it; None where it was neither."""
    quantized: Path | None
    """With the FakeQuant ops of quantization-aware training; None where there was none."""
    phases: tuple[Phase, ...]
    samples: int
    total: int | None
    """Rows that the dataset holds; None where only reading them all would tell."""
    metric: str
    """As Keras names it."""
    from_logits: bool | None
    """Of a cross-entropy."""
    skipped: tuple[str, ...]
    """Layers that `skip_layers` left as they were."""
