"""Run functions in child processes: events out, output captured, limits kept; a crash becomes an error.

TensorFlow, LiteRT and the user's code can all kill or hang the process they run in, so they never run in the one that
talks to the person.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from typing_extensions import Self

from tflq.worker.budget import Budget, Spending, end, largest, processors
from tflq.worker.child import ENVIRONMENT, work
from tflq.worker.messages import (
    Done,
    Event,
    Failed,
    Finished,
    Listener,
    Progress,
    Raised,
    Report,
    Returned,
    Said,
    Started,
    T,
    Task,
)

__all__ = [
    "ENVIRONMENT",
    "Budget",
    "Done",
    "Event",
    "Failed",
    "Finished",
    "Listener",
    "Progress",
    "Report",
    "Said",
    "Started",
    "Task",
    "Workers",
    "preload_tensorflow",
    "processors",
]

POLL_SECONDS = 0.2
NO_LIMITS = Budget()
_FORK_SERVER = multiprocessing.get_context("forkserver")
_SPAWN = multiprocessing.get_context("spawn")
_ASKING = threading.Lock()
"""Held to start a process, too, which asks after all the others: an exit code can be read once, by one thread."""


def preload_tensorflow() -> None:
    """Let the fork server import TensorFlow, beside whatever happens until the first worker is needed."""
    # each worker imports the main script too, which is the command line, and so click
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tflq.preload", "click"])
    multiprocessing.forkserver.ensure_running()  # type: ignore[attr-defined]


@dataclass
class _Running:
    task: Task[Any]
    position: int
    process: BaseProcess
    inbox: Connection
    started: float
    answer: Returned | Raised | None = None
    is_cut_off: bool = False
    stopped: str = ""
    """Why it was ended from here."""

    @property
    def is_silent(self) -> bool:
        """Whether it can still be ended from here."""
        return self.answer is None and not self.is_cut_off and not self.stopped

    def stop(self, why: str) -> None:
        self.stopped = why
        end(self.process.pid or 0)


class Workers:
    """Child processes with one log, one time limit and one listener; leaving the context ends those that run."""

    def __init__(self, log: Path, timeout: float | None, listen: Listener, budget: Budget = NO_LIMITS) -> None:
        """`timeout`: seconds that one task may take; `budget`: what all may take together."""
        self.log, self.timeout, self.listen, self._spending = log, timeout, listen, Spending(budget)
        self.peak_rss_bytes = 0
        self._temporary = tempfile.TemporaryDirectory(prefix="tflq-", ignore_cleanup_errors=True)
        self._running: list[_Running] = []
        self._heard = log.stat().st_size if log.exists() else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running:
            end(running.process.pid or 0)
            _await(running.process)
        self._running.clear()
        self._temporary.cleanup()

    def run(self, task: Task[T]) -> Done[T]:
        """The task's result; raises its error."""
        (outcome,) = self.run_all([task], jobs=1)
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome

    def run_all(self, tasks: Sequence[Task[T]], jobs: int) -> list[Done[T] | Failed]:
        """An outcome for each task, in their order; at most `jobs` run at a time."""
        outcomes = dict(self.as_done(tasks, jobs))
        return [outcomes[position] for position in range(len(tasks))]

    def as_done(self, tasks: Iterable[Task[T]], jobs: int) -> Iterator[tuple[int, Done[T] | Failed]]:
        """The position of each task and its outcome, as they end; a task is taken when there is room for it."""
        waiting = enumerate(tasks)
        while True:
            while len(self._running) < jobs and (following := next(waiting, None)):
                self._running.append(self._start(*following))
            if not self._running:
                return
            self._listen()
            self._hold_to_limits()
            for running in [running for running in self._running if self._has_ended(running)]:
                outcome = self._outcome(running)
                self._running.remove(running)
                yield running.position, outcome

    def _start(self, position: int, task: Task[Any]) -> _Running:
        self.listen(Started(task.stage))
        context = _SPAWN if task.environment else _FORK_SERVER
        inbox, outbox = context.Pipe(duplex=False)
        process: BaseProcess = context.Process(
            target=work, args=(outbox, self.log, self._temporary.name, task), daemon=False
        )
        with _ASKING, _environment(task.environment):
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
        except (EOFError, OSError):  # OSError: it died while it sent
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
        if not running.is_silent:
            return True
        return not _is_alive(running.process) and not running.inbox.poll()

    def _hold_to_limits(self) -> None:
        self._spending.refuse_to_go_on()
        silent = [running for running in self._running if running.is_silent]
        for running in silent:
            if why := self._spending.time_is_up() or self._late(running):
                running.stop(why)
        processes = [running.process.pid or 0 for running in silent]
        if why := self._spending.too_large(processes):
            silent[largest(processes)].stop(why)

    def _late(self, running: _Running) -> str:
        """Why the task may run no longer; empty where it may."""
        if self.timeout is None or time.monotonic() - running.started <= self.timeout:
            return ""
        return f"not done after {self.timeout:g} s, so it was stopped; --timeout raises the limit"

    def _outcome(self, running: _Running) -> Done[Any] | Failed:
        _await(running.process)
        failure = running.stopped or _cause(running.process.exitcode or 0)
        running.inbox.close()
        self._relay()
        seconds, task, answer = time.monotonic() - running.started, running.task, running.answer
        self.listen(Finished(task.stage, seconds, failed=not isinstance(answer, Returned)))
        if isinstance(answer, Returned):
            self.peak_rss_bytes = max(self.peak_rss_bytes, answer.peak_rss_bytes)
            return Done(answer.value, seconds, answer.peak_rss_bytes)
        remedy = f"; {task.remedy}" if task.remedy and not running.stopped else ""
        died = task.error(f"{task.stage}: {failure}{remedy} (log: {self.log})")
        died.may_pass = True
        return Failed(answer.error if answer else died, seconds)


def _await(process: BaseProcess) -> None:
    while _is_alive(process):
        wait([process.sentinel], POLL_SECONDS)


def _is_alive(process: BaseProcess) -> bool:
    with _ASKING:
        return process.is_alive()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set them for the process that starts meanwhile: what it imports first may read them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _cause(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return "the worker process was killed (SIGKILL); the usual cause is that memory ran out"
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"the worker process crashed with {name}; the log's last lines are the best clue to the cause"
    return f"the worker process ended by itself, with exit code {exit_code} and no result"
