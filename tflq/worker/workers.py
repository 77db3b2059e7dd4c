"""Run tasks in child processes within limits, and pass their events to a listener."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from typing_extensions import Self

from tflq import leftovers
from tflq.worker.budget import Budget, BudgetUse, kill
from tflq.worker.interrupts import interrupts_deferred
from tflq.worker.log_reader import LogReader
from tflq.worker.messages import (
    BackgroundTask,
    Done,
    Failed,
    Finished,
    Listener,
    LogText,
    OwnProcessNeeded,
    Progress,
    RaisedError,
    ReturnedValue,
    Started,
    T,
    Task,
    TaskSurroundings,
)
from tflq.worker.pool import WorkerPool
from tflq.worker.process import POLL_SECONDS, RunningTask, describe_exit, is_alive, start

NO_LIMITS = Budget()


class Workers:
    """Child processes with one log, one time limit and one listener. Leaving the context kills running processes."""

    def __init__(
        self,
        log: Path,
        timeout: float | None,
        listen: Listener,
        budget: Budget = NO_LIMITS,
        pool: WorkerPool | None = None,
    ) -> None:
        """`timeout` is the limit of each task in seconds. `budget` has the limits of all tasks together.

        `pool` has idle processes of other runs; without it, only the tasks of this run share processes.
        """
        self.log, self.timeout, self.listen, self._budget_use = log, timeout, listen, BudgetUse(budget)
        self.peak_rss_bytes = 0
        self._temporary = leftovers.run_folder()
        self._running: list[RunningTask] = []
        self._waiting = deque[BackgroundTask[Any]]()
        self._reader = LogReader(log)
        self._pool, self._shares_pool = pool or WorkerPool(), pool is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running:
            kill(running.worker.process.pid or 0)
            running.worker.end()
        self._running.clear()
        if not self._shares_pool:
            self._pool.close()
        self._temporary.cleanup()

    def run(self, task: Task[T]) -> Done[T]:
        """Run one task and return its outcome. Raise its error if it fails."""
        (outcome,) = self.run_all([task], jobs=1)
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome

    def known(self, task: Task[T]) -> Done[T] | None:
        """Return the outcome of a task without arguments, if it ended well in a run that has shared the pool."""
        return self._pool.known.get(task.stage)

    def run_all(self, tasks: Sequence[Task[T]], jobs: int) -> list[Done[T] | Failed]:
        """Run the tasks, at most `jobs` at a time, and return their outcomes in the order of the tasks."""
        outcomes = dict(self.as_done(tasks, jobs))
        return [outcomes[position] for position in range(len(tasks))]

    def as_done(self, tasks: Iterable[Task[T]], jobs: int) -> Iterator[tuple[int, Done[T] | Failed]]:
        """Yield the position and the outcome of each task when it ends. A task is read only when it can start."""
        waiting = enumerate(tasks)
        while True:
            while self._has_room(jobs) and (following := next(waiting, None)):
                self._start(*following)
            if all(running.background for running in self._running):
                return
            if len(self._running) < jobs and self._waiting and not self._is_busy_in_background:
                self._start_in_background(self._waiting.popleft())
            yield from self._ended()

    def run_in_background(self, task: Task[T]) -> BackgroundTask[T]:
        """Let the task run while the tasks of `as_done` leave a process idle, and return it at once."""
        background = BackgroundTask(task)
        self._waiting.append(background)
        return background

    def results(self, background: Sequence[BackgroundTask[T]], jobs: int) -> list[Done[T] | Failed]:
        """Return the outcomes of tasks in the background when all have ended. They run `jobs` at a time from now on."""
        while not all(each.outcome for each in background):
            while len(self._running) < jobs and self._waiting:
                self._start_in_background(self._waiting.popleft())
            for _ in self._ended():
                pass
        return [each.outcome for each in background if each.outcome]

    @property
    def _is_busy_in_background(self) -> bool:
        return any(running.background for running in self._running)

    def _has_room(self, jobs: int) -> bool:
        """Return whether another task can start: one always can, whatever runs in the background."""
        return len(self._running) < jobs or all(running.background for running in self._running)

    def _ended(self) -> Iterator[tuple[int, Done[Any] | Failed]]:
        """Wait for messages. Yield the tasks that have ended; those in the background get their outcome instead."""
        self._listen()
        self._enforce_limits()
        for running in [running for running in self._running if self._has_ended(running)]:
            if isinstance(running.answer, OwnProcessNeeded):
                self._restart(running, "")
            elif running.has_crashed_after_others:
                self._restart(running, f"=== {running.task.stage}, again in a new process\n")
            elif running.background:
                running.background.outcome = self._outcome(running)
            else:
                outcome = self._outcome(running)
                yield running.position, outcome

    def _start_in_background(self, background: BackgroundTask[Any]) -> None:
        self._start(0, background.task, background)

    def _start(self, position: int, task: Task[Any], background: BackgroundTask[Any] | None = None) -> None:
        self.listen(Started(task.stage))
        with interrupts_deferred():  # otherwise a started process might not be killed at the end
            worker = None if task.environment else self._pool.take()
            process = worker or start(task.environment)
            running = RunningTask(task, position, process, time.monotonic(), background)
            self._running.append(running)
            running.worker.send(task, self._surroundings(f"=== {task.stage}\n"))

    def _restart(self, running: RunningTask, heading: str) -> None:
        """Run the task again in a new process."""
        with interrupts_deferred():
            if running.answer:
                self._pool.put(running.worker)  # the task did nothing there
            else:
                running.worker.end()
            running.answer, running.is_cut_off = None, False
            running.worker = start(running.task.environment)
            running.worker.send(running.task, self._surroundings(heading))

    def _surroundings(self, heading: str) -> TaskSurroundings:
        return TaskSurroundings(self.log, self._temporary.name, heading)

    def _listen(self) -> None:
        inboxes: dict[Any, RunningTask] = {running.worker.inbox: running for running in self._running}
        ends = [running.worker.process.sentinel for running in self._running]
        for ready in wait([*inboxes, *ends], POLL_SECONDS):
            if ready in inboxes:
                self._receive(inboxes[ready])
        self._relay()

    def _receive(self, running: RunningTask) -> None:
        try:
            message = running.worker.inbox.recv()
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
        return not is_alive(running.worker.process) and not running.worker.inbox.poll()

    def _enforce_limits(self) -> None:
        self._budget_use.raise_if_stopped()
        silent = [running for running in self._running if running.is_silent]
        for running in silent:
            if reason := self._budget_use.time_exceeded() or self._time_exceeded(running):
                running.stop(reason)
        if excess := self._budget_use.memory_exceeded([running.worker.process.pid or 0 for running in silent]):
            largest, reason = excess
            silent[largest].stop(reason)

    def _time_exceeded(self, running: RunningTask) -> str:
        """Return why the task must end, or an empty text if it has time left."""
        if self.timeout is None or time.monotonic() - running.started <= self.timeout:
            return ""
        return f"not done after {self.timeout:g} s, so it was stopped; --timeout raises the limit"

    def _outcome(self, running: RunningTask) -> Done[Any] | Failed:
        seconds, task, answer = time.monotonic() - running.started, running.task, running.answer
        failure = self._release(running)
        self._relay(is_last=not self._running)
        self.listen(Finished(task.stage, seconds, failed=not isinstance(answer, ReturnedValue)))
        if isinstance(answer, ReturnedValue):
            self.peak_rss_bytes = max(self.peak_rss_bytes, answer.peak_rss_bytes)
            done = Done(answer.value, seconds, answer.peak_rss_bytes)
            if not task.arguments:
                self._pool.known[task.stage] = done
            return done
        if isinstance(answer, RaisedError):
            return Failed(answer.error, seconds)
        remedy = f"; {task.remedy}" if task.remedy and not running.stopped else ""
        error = task.error(f"{task.stage}: {failure}{remedy} (log: {self.log})")
        error.may_pass = True
        return Failed(error, seconds)

    def _release(self, running: RunningTask) -> str:
        """Keep the process of a task for another task, or end it. Return why it ended, if it sent no answer.

        A process whose task raised an error is not used again, since that may have left anything behind.
        """
        worker, answer = running.worker, running.answer
        with interrupts_deferred():
            if isinstance(answer, ReturnedValue) and not answer.is_last and not running.task.environment:
                self._pool.put(worker)
            else:
                worker.end()
            self._running.remove(running)
        return running.stopped or describe_exit(worker.process.exitcode or 0)
