"""What goes to workers, and what comes back: tasks, events, outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from tflq.errors import TflqError

T = TypeVar("T")


class ProgressCallback(Protocol):
    """What a worker's function calls with how much is done, and of how much, and with a figure worth showing."""

    def __call__(self, done: int, total: int, note: str = "", /) -> None: ...


@dataclass(frozen=True)
class Task(Generic[T]):
    """A call `function(report, *arguments)` to make in a worker, and the error that its failure becomes."""

    stage: str
    function: Callable[..., T]
    arguments: tuple[Any, ...]
    error: type[TflqError]
    remedy: str = ""
    """What to try where the worker dies of it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What must be set before TensorFlow is imported, so that the worker cannot be one that has it already."""


@dataclass(frozen=True)
class Started:
    stage: str


@dataclass(frozen=True)
class Progress:
    stage: str
    done: int
    total: int | None
    """None if it is not known how much there is."""
    note: str = ""


@dataclass(frozen=True)
class Finished:
    stage: str
    seconds: float
    failed: bool


@dataclass(frozen=True)
class Said:
    """What workers wrote to standard output and standard error, which goes to the log."""

    text: str


Event = Started | Progress | Finished | Said
Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Returned:
    """A child's answer: the function's value."""

    value: Any
    peak_rss_bytes: int


@dataclass(frozen=True)
class Raised:
    """A child's answer: what the function raised, as the task's error."""

    error: TflqError


@dataclass(frozen=True)
class Done(Generic[T]):
    value: T
    seconds: float
    peak_rss_bytes: int

    def get(self) -> T:
        """The value."""
        return self.value


@dataclass(frozen=True)
class Failed:
    error: TflqError
    seconds: float

    def get(self) -> NoReturn:
        """Raises the error."""
        raise self.error
