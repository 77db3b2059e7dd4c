"""Run functions in child processes: events out, output captured, limits kept; a crash becomes an error.

TensorFlow, LiteRT and the user's code can all kill or hang the process they run in, so they never run in the one that
talks to the person.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from typing_extensions import Self

from tflq.errors import TflqError

T = TypeVar("T")
Report = Callable[[int, int], None]
"""What a worker's function calls with how much is done, and of how much."""

ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "0",  # some float models die with SIGSEGV in oneDNN, and its sums depend on the machine
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "OPENBLAS_NUM_THREADS": "1",  # NumPy's threads wait by spinning, and take the cores from the other workers
}
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Progress:
    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Started:
    stage: str


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
class Task(Generic[T]):
    """A call `function(report, *arguments)` to make in a worker, and the error that its failure becomes."""

    stage: str
    function: Callable[..., T]
    arguments: tuple[Any, ...]
    error: type[TflqError]
    remedy: str = ""
    """What to try where the worker dies of it."""


@dataclass(frozen=True)
class Done(Generic[T]):
    value: T
    seconds: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class Failed:
    error: TflqError
    seconds: float


@dataclass(frozen=True)
class _Returned:
    value: Any
    peak_rss_bytes: int


@dataclass(frozen=True)
class _Raised:
    error: TflqError


@dataclass
class _Running:
    task: Task[Any]
    position: int
    process: BaseProcess
    inbox: Connection
    started: float
    answer: _Returned | _Raised | None = None
    is_cut_off: bool = False


def preload_tensorflow() -> None:
    """Let the fork server import TensorFlow, beside whatever happens until the first worker is needed."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tflq.preload"])
    multiprocessing.forkserver.ensure_running()  # type: ignore[attr-defined]


class Workers:
    """Child processes with one log, one time limit and one listener; leaving the context ends those that run."""

    def __init__(self, log: Path, timeout: float | None, listen: Listener) -> None:
        """`timeout`: seconds that one task may take."""
        self.log, self.timeout, self.listen = log, timeout, listen
        self.peak_rss_bytes = 0
        self._running: list[_Running] = []
        self._heard = log.stat().st_size if log.exists() else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running:
            running.process.kill()
            running.process.join()
        self._running.clear()

    def run(self, task: Task[T]) -> Done[T]:
        """The task's result; raises its error."""
        (outcome,) = self.run_all([task], jobs=1)
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome

    def run_all(self, tasks: Sequence[Task[T]], jobs: int) -> list[Done[T] | Failed]:
        """An outcome for each task, in their order; at most `jobs` run at a time."""
        waiting = deque(enumerate(tasks))
        outcomes: dict[int, Done[T] | Failed] = {}
        while waiting or self._running:
            while waiting and len(self._running) < jobs:
                self._running.append(self._start(*waiting.popleft()))
            self._listen()
            for running in [running for running in self._running if self._has_ended(running)]:
                outcomes[running.position] = self._outcome(running)
                self._running.remove(running)
        return [outcomes[position] for position in range(len(tasks))]

    def _start(self, position: int, task: Task[Any]) -> _Running:
        self.listen(Started(task.stage))
        context = multiprocessing.get_context("forkserver")
        inbox, outbox = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(outbox, self.log, task), daemon=False)
        process.start()
        outbox.close()
        return _Running(task, position, process, inbox, time.monotonic())

    def _listen(self) -> None:
        inboxes: dict[Any, _Running] = {running.inbox: running for running in self._running}
        ends = [running.process.sentinel for running in self._running]
        for ready in wait([*inboxes, *ends], POLL_SECONDS):
            if ready in inboxes:
                self._receive(inboxes[ready])
        self._relay()

    def _receive(self, running: _Running) -> None:
        try:
            message = running.inbox.recv()
        except EOFError:
            running.is_cut_off = True
            return
        if isinstance(message, Progress):
            self.listen(message)
        else:
            running.answer = message

    def _relay(self) -> None:
        if self.log.exists() and self.log.stat().st_size > self._heard:
            with self.log.open("rb") as file:
                file.seek(self._heard)
                text = file.read()
            self._heard += len(text)
            self.listen(Said(text.decode(errors="replace")))

    def _has_ended(self, running: _Running) -> bool:
        if running.answer is not None or running.is_cut_off or self._is_late(running):
            return True
        return not running.process.is_alive() and not running.inbox.poll()

    def _is_late(self, running: _Running) -> bool:
        return self.timeout is not None and time.monotonic() - running.started > self.timeout

    def _outcome(self, running: _Running) -> Done[Any] | Failed:
        if self._is_late(running) and running.answer is None:
            running.process.kill()
            failure = f"not done after {self.timeout:g} s, so it was stopped; --timeout raises the limit"
        else:
            running.process.join()
            failure = _cause(running.process.exitcode or 0)
        running.process.join()
        self._relay()
        seconds, task, answer = time.monotonic() - running.started, running.task, running.answer
        self.listen(Finished(task.stage, seconds, failed=not isinstance(answer, _Returned)))
        if isinstance(answer, _Returned):
            self.peak_rss_bytes = max(self.peak_rss_bytes, answer.peak_rss_bytes)
            return Done(answer.value, seconds, answer.peak_rss_bytes)
        remedy = f"; {task.remedy}" if task.remedy else ""
        died = task.error(f"{task.stage}: {failure}{remedy} (log: {self.log})")
        return Failed(answer.error if answer else died, seconds)


def _cause(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return "the worker process was killed (SIGKILL); the usual cause is that memory ran out"
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"the worker process crashed with {name}; the log's last lines are the best clue to the cause"
    return f"the worker process ended by itself, with exit code {exit_code} and no result"


class _Reporting:
    """Turns whatever is raised inside into a message to the parent; the traceback goes to the log."""

    def __init__(self, outbox: Connection, task: Task[Any]) -> None:
        self.outbox, self.task = outbox, task

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if raised is None:
            return False
        traceback.print_exception(kind, raised, trace)
        known = isinstance(raised, TflqError)
        error = raised if known else self.task.error(f"{self.task.stage}: {_first_lines(raised)}")
        self.outbox.send(_Raised(error))  # type: ignore[arg-type]
        return True


def _first_lines(raised: BaseException) -> str:
    text = " ".join(str(raised).split())
    return f"{type(raised).__name__}: {text[:500]}{' …' if len(text) > 500 else ''}"


def _work(outbox: Connection, log: Path, task: Task[Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: PTH123, SIM115
    print(f"=== {task.stage}", flush=True)  # noqa: T201
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    with _Reporting(outbox, task):
        value = task.function(_reporter(outbox, task.stage), *task.arguments)
        outbox.send(_Returned(value, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # TensorFlow's exit handlers can hang or crash, and nothing is left to do


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _reporter(outbox: Connection, stage: str) -> Report:
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > POLL_SECONDS:
            last = time.monotonic()
            outbox.send(Progress(stage, done, total))

    return report


def all_done(outcomes: Iterable[Done[T] | Failed]) -> list[Done[T]]:
    """The outcomes, where none failed; raises the error of the first that did."""
    done = []
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            raise outcome.error
        done.append(outcome)
    return done
