"""Run tasks in child processes within limits, and pass their events to a listener."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from typing_extensions import Self

from tflq.worker.budget import Budget, BudgetUse, kill, largest
from tflq.worker.interrupts import interrupts_deferred
from tflq.worker.log_reader import LogReader
from tflq.worker.messages import Done, Failed, Finished, Listener, LogText, Progress, ReturnedValue, Started, T, Task
from tflq.worker.process import POLL_SECONDS, RunningTask, describe_exit, is_alive, start, wait_for

NO_LIMITS = Budget()


class Workers:
    """Child processes with one log, one time limit and one listener. Leaving the context kills running processes."""

    def __init__(self, log: Path, timeout: float | None, listen: Listener, budget: Budget = NO_LIMITS) -> None:
        """`timeout` is the limit of each task in seconds. `budget` has the limits of all tasks together."""
        self.log, self.timeout, self.listen, self._budget_use = log, timeout, listen, BudgetUse(budget)
        self.peak_rss_bytes = 0
        self._temporary = tempfile.TemporaryDirectory(prefix="tflq-", ignore_cleanup_errors=True)
        self._running: list[RunningTask] = []
        self._reader = LogReader(log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running:
            kill(running.process.pid or 0)
            wait_for(running.process)
        self._running.clear()
        self._temporary.cleanup()

    def run(self, task: Task[T]) -> Done[T]:
        """Run one task and return its outcome. Raise its error if it fails."""
        (outcome,) = self.run_all([task], jobs=1)
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome

    def run_all(self, tasks: Sequence[Task[T]], jobs: int) -> list[Done[T] | Failed]:
        """Run the tasks, at most `jobs` at a time, and return their outcomes in the order of the tasks."""
        outcomes = dict(self.as_done(tasks, jobs))
        return [outcomes[position] for position in range(len(tasks))]

    def as_done(self, tasks: Iterable[Task[T]], jobs: int) -> Iterator[tuple[int, Done[T] | Failed]]:
        """Yield the position and the outcome of each task when it ends. A task is read only when it can start."""
        waiting = enumerate(tasks)
        while True:
            while len(self._running) < jobs and (following := next(waiting, None)):
                self._start(*following)
            if not self._running:
                return
            self._listen()
            self._enforce_limits()
            for running in [running for running in self._running if self._has_ended(running)]:
                outcome = self._outcome(running)
                self._running.remove(running)
                yield running.position, outcome

    def _start(self, position: int, task: Task[Any]) -> None:
        self.listen(Started(task.stage))
        with interrupts_deferred():  # otherwise a started process might not be killed at the end
            self._running.append(start(task, position, self.log, self._temporary.name))

    def _listen(self) -> None:
        inboxes: dict[Any, RunningTask] = {running.inbox: running for running in self._running}
        ends = [running.process.sentinel for running in self._running]
        for ready in wait([*inboxes, *ends], POLL_SECONDS):
            if ready in inboxes:
                self._receive(inboxes[ready])
        self._relay()

    def _receive(self, running: RunningTask) -> None:
        try:
            message = running.inbox.recv()
        except (EOFError, OSError):  # OSError: the process died while it sent
            running.is_cut_off = True
            return
        if isinstance(message, Progress):
            self.listen(message)
        else:
            running.answer = message

    def _relay(self, is_last: bool = False) -> None:
        """Pass new text of the log to the listener. If `is_last`, no process writes to the log any more."""
        if text := self._reader.read(is_last):
            self.listen(LogText(text))

    def _has_ended(self, running: RunningTask) -> bool:
        if not running.is_silent:
            return True
        return not is_alive(running.process) and not running.inbox.poll()

    def _enforce_limits(self) -> None:
        self._budget_use.raise_if_stopped()
        silent = [running for running in self._running if running.is_silent]
        for running in silent:
            if reason := self._budget_use.time_exceeded() or self._time_exceeded(running):
                running.stop(reason)
        processes = [running.process.pid or 0 for running in silent]
        if reason := self._budget_use.memory_exceeded(processes):
            silent[largest(processes)].stop(reason)

    def _time_exceeded(self, running: RunningTask) -> str:
        """Return why the task must end, or an empty text if it has time left."""
        if self.timeout is None or time.monotonic() - running.started <= self.timeout:
            return ""
        return f"not done after {self.timeout:g} s, so it was stopped; --timeout raises the limit"

    def _outcome(self, running: RunningTask) -> Done[Any] | Failed:
        wait_for(running.process)
        failure = running.stopped or describe_exit(running.process.exitcode or 0)
        running.inbox.close()
        self._relay(is_last=len(self._running) == 1)
        seconds, task, answer = time.monotonic() - running.started, running.task, running.answer
        self.listen(Finished(task.stage, seconds, failed=not isinstance(answer, ReturnedValue)))
        if isinstance(answer, ReturnedValue):
            self.peak_rss_bytes = max(self.peak_rss_bytes, answer.peak_rss_bytes)
            return Done(answer.value, seconds, answer.peak_rss_bytes)
        remedy = f"; {task.remedy}" if task.remedy and not running.stopped else ""
        error = task.error(f"{task.stage}: {failure}{remedy} (log: {self.log})")
        error.may_pass = True
        return Failed(answer.error if answer else error, seconds)
