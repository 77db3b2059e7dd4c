"""The tasks of workers, and their events and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from tflq.errors import TflqError

T = TypeVar("T")


class ProgressCallback(Protocol):
    """A function that reports the progress of a task: the steps done, the total, and a short note to show."""

    def __call__(self, done: int, total: int, note: str = "", /) -> None: ...


@dataclass(frozen=True)
class Task(Generic[T]):
    """A call `function(report, *arguments)` to make in a worker, and the error that its failure becomes."""

    stage: str
    function: Callable[..., T]
    arguments: tuple[Any, ...]
    error: type[TflqError]
    remedy: str = ""
    """Advice for the user if the worker crashes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that must be set before TensorFlow is imported. Such a worker is not forked."""


@dataclass(frozen=True)
class Started:
    """A stage has started."""

    stage: str


@dataclass(frozen=True)
class Progress:
    """A stage has done some of its steps."""

    stage: str
    done: int
    total: int | None
    """The number of steps; None if it is unknown."""
    note: str = ""


@dataclass(frozen=True)
class Finished:
    """A stage has ended."""

    stage: str
    seconds: float
    failed: bool


@dataclass(frozen=True)
class LogText:
    """Text that workers wrote to standard output or standard error. It is also in the log."""

    text: str


Event = Started | Progress | Finished | LogText
Listener = Callable[[Event], None]


@dataclass(frozen=True)
class TaskSurroundings:
    """The places for the output and the temporary files of a task."""

    log: Path
    temporary: str
    """The folder for temporary files, such as those of AutoGraph. The parent removes it."""
    heading: str
    """The text in the log before the output of the task."""


@dataclass(frozen=True)
class ReturnedValue:
    """A child's answer: the value that the function returned."""

    value: Any
    peak_rss_bytes: int
    is_last: bool
    """Whether the process runs no other task."""


@dataclass(frozen=True)
class OwnProcessNeeded:
    """A child's answer: the task must be the first one of a process, and another task ran before in this one."""


@dataclass(frozen=True)
class ReadyForTask:
    """A child's message after its answer: it has freed the memory of its task and can run another one."""


@dataclass(frozen=True)
class RaisedError:
    """A child's answer: the exception of the function, as the task's error."""

    error: TflqError


@dataclass(frozen=True)
class Done(Generic[T]):
    """The outcome of a task that returned a value."""

    value: T
    seconds: float
    peak_rss_bytes: int

    def get(self) -> T:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class Failed:
    """The outcome of a task that raised an error, crashed or met a limit."""

    error: TflqError
    seconds: float

    def get(self) -> NoReturn:
        """Raise the error."""
        raise self.error


@dataclass(eq=False)
class BackgroundTask(Generic[T]):
    """A task that runs while others leave a process idle."""

    task: Task[T]
    outcome: Done[T] | Failed | None = None
    """The outcome; None until the task has ended."""
