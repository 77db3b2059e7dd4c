"""What a batch tells while it runs: how much there is to do, and what becomes of each model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tflq.batch.summary import Model
from tflq.worker import Event


@dataclass(frozen=True)
class BatchPlanned:
    """How many models there are, and how many of them must be made."""

    models: int
    stale: int


@dataclass(frozen=True)
class ModelStarted:
    name: str
    why: str


@dataclass(frozen=True)
class ModelProgress:
    """What a model's workers tell."""

    name: str
    event: Event


@dataclass(frozen=True)
class ModelFinished:
    model: Model


BatchEvent = BatchPlanned | ModelStarted | ModelProgress | ModelFinished
Listener = Callable[[BatchEvent], None]
