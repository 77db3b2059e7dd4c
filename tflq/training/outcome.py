"""The outcome of training: models and the course of each technique."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflq.errors import TflqError
from tflq.training.schema import Technique


@dataclass(frozen=True)
class Epoch:
    """The means of loss and metric over one epoch. Validation runs after the epoch."""

    loss: float
    metric: float
    validation_loss: float | None
    validation_metric: float | None
    seconds: float


@dataclass(frozen=True)
class Phase:
    """The training with one technique."""

    technique: Technique
    epochs: tuple[Epoch, ...]
    kept: int
    """The number of the epoch whose weights are kept, from 1."""
    resumed_after: int
    """The number of epochs that an earlier, interrupted run completed."""


@dataclass(frozen=True)
class TrainingResult:
    """The trained models as SavedModels, and how they were trained."""

    floating: Path | None
    """The model after pruning and clustering; None without both."""
    quantized: Path | None
    """The model with the fake-quantize ops of quantization-aware training; None without it."""
    phases: tuple[Phase, ...]
    samples: int
    total: int | None
    """The number of rows in the dataset; None if it is unknown until all are read."""
    metric: str
    """The name of the metric in Keras."""
    from_logits: bool | None
    """Whether the cross-entropy takes logits; None for other losses."""
    skipped: tuple[str, ...]
    """The layers that `skip_layers` excludes from training."""
    left_in_float: tuple[str, ...] = ()
    """The layers without weights that quantization-aware training cannot quantize."""
    unchanged_kernels: tuple[str, ...] = ()
    """The layers whose depthwise kernels pruning and clustering leave as they are."""
    error: TflqError | None = None
    """Why there is no model of quantization-aware training, though there is a pruned or clustered one."""
