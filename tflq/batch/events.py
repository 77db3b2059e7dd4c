"""The events of a running batch: the amount of work, and the progress of each model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tflq.batch.summary import Model
from tflq.worker import Event


@dataclass(frozen=True)
class BatchPlanned:
    """The number of models, and the number of stale models, which must be converted."""

    models: int
    stale: int


@dataclass(frozen=True)
class ModelStarted:
    name: str
    why: str


@dataclass(frozen=True)
class ModelProgress:
    """An event of a worker of the model."""

    name: str
    event: Event


@dataclass(frozen=True)
class ModelFinished:
    model: Model


@dataclass(frozen=True)
class BatchNote:
    """A sentence about the batch as a whole, which is no error."""

    text: str


BatchEvent = BatchPlanned | BatchNote | ModelStarted | ModelProgress | ModelFinished
Listener = Callable[[BatchEvent], None]
