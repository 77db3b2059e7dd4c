"""The display of progress: one live line on a terminal, a line for each variant elsewhere, nothing with --json."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from typing_extensions import Self

from tflq import worker
from tflq.cli.time_left import EarlierRun
from tflq.progress import RunStep, VariantProgress
from tflq.worker import Event, Finished, LogText, Started

MIN_SECONDS = 2.0
"""The time left is shown from this time on, and if it is at least this long."""
MIN_SHARE = 0.1
"""The share of a stage that must be done before its time left is estimated."""


@dataclass
class _RunningStage:
    """A stage that has begun. `started` is a time of the monotonic clock, in seconds."""

    started: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int | None = None
    note: str = ""

    @property
    def in_words(self) -> str:
        """Return how far the stage is; an empty text if it does not tell."""
        count = f"{self.done}/{self.total}" if self.total else f"{self.done}" if self.done else ""
        return f"{count} {self.note}".strip()

    def seconds_left(self, now: float) -> float | None:
        """Return the estimated time until the stage ends; None if too little of it is done."""
        if not self.total or self.done < MIN_SHARE * self.total:
            return None
        return (now - self.started) * (self.total / self.done - 1)


class ProgressDisplay:
    """Listens to the events of a run. As a context manager, it removes its live lines at the end."""

    def __init__(self, console: Console, is_verbose: bool, is_silent: bool, earlier: EarlierRun | None = None) -> None:
        self.console, self.is_verbose, self.is_silent, self._earlier = console, is_verbose, is_silent, earlier
        self.has_bars = console.is_terminal and not is_silent
        self._started = time.monotonic()
        self._running: dict[str, _RunningStage] = {}
        self._ended: set[str] = set()
        self._step: RunStep | None = None
        self._variants: dict[str, VariantProgress] = {}
        self._lock = threading.Lock()
        self._live = Live(get_renderable=self.lines, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self.has_bars:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Started(stage):
                with self._lock:
                    self._running[stage] = _RunningStage()
            case worker.Progress(stage, done, total, note):
                self._progress(stage, done, total, note)
            case Finished():
                self._finish(event)
            case LogText(text):
                if self.is_verbose:
                    self.console.print(text, end="", markup=False, highlight=False, style="dim")

    def watch(self, event: RunStep | VariantProgress) -> None:
        """Show a step of the run, or what is known of a variant."""
        if isinstance(event, RunStep):
            self._step = event
            return
        earlier = self._variants.get(event.variant)
        with self._lock:
            self._variants[event.variant] = event
        if event.is_final and event != earlier and not self.has_bars:
            self._print(f"{event.variant}: {event.text}")

    def _progress(self, stage: str, done: int, total: int | None, note: str) -> None:
        with self._lock:
            running = self._running.setdefault(stage, _RunningStage())
            is_new = note not in ("", running.note)
            running.done, running.total, running.note = done, total, note
            left = running.seconds_left(time.monotonic())
        if is_new and not self.has_bars:
            time_left = "" if left is None or left < MIN_SECONDS else f" (about {duration(left)} left)"
            self._print(f"{stage}: {note}{time_left}")

    def _finish(self, event: Finished) -> None:
        with self._lock:
            self._running.pop(event.stage, None)
            self._ended.add(event.stage)
        if self.is_verbose:
            self._print(f"{event.stage}: {'failed after' if event.failed else 'done in'} {event.seconds:.1f} s")

    def _print(self, line: str) -> None:
        if not self.is_silent:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def lines(self) -> Group:
        """Return the line of the whole run, and a line for each variant that has a file, as many as fit."""
        with self._lock:
            running = {name: replace(stage) for name, stage in self._running.items()}
            variants = list(self._variants.values())
        step = f"{self._step.position}/{self._step.total} {self._step.name}" if self._step else ""
        stages = " · ".join(f"{name} {stage.in_words}".rstrip() for name, stage in running.items())
        words = [Text(step, "bold"), Text(self._times(running), "cyan"), Text(stages)]
        lines = [Text("  ").join(filter(None, words))]
        lines += [Text(f"{variant.variant}: {variant.text}", "dim") for variant in variants]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines[: max(1, self.console.height - 1)])

    def _times(self, running: Mapping[str, _RunningStage]) -> str:
        """Return the time since the start in words, and the time left if it is known well enough."""
        now = time.monotonic()
        spent = duration(now - self._started)
        if self._step is None or now - self._started < MIN_SECONDS:
            return spent
        if self._earlier:
            seconds = {name: now - stage.started for name, stage in running.items()}
            left, prefix = self._earlier.seconds_after(self._ended, seconds), ""
        else:
            ends = [stage.seconds_left(now) for stage in running.values()]
            known = [end for end in ends if end is not None]
            left, prefix = max(known) if known and len(known) == len(ends) else None, "stage: "
        return spent if left is None or left < MIN_SECONDS else f"{spent} ({prefix}about {duration(left)} left)"


def duration(seconds: float) -> str:
    """Return the time in minutes and seconds, such as 1:05."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"
