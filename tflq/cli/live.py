"""The display of a batch on a terminal: a live table."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from tflq.batch import BatchEvent, BatchNote, BatchPlanned, ModelFinished, ModelProgress, ModelStarted
from tflq.batch.summary import BatchSummary, Model
from tflq.cli.batch_lines import outcome, print_conclusion
from tflq.cli.display import duration
from tflq.errors import printable
from tflq.report.table import shortened
from tflq.worker import Progress, Started

STYLES = {"made": "green", "up to date": "green", "failed": "red", "not reached": "yellow"}
NAME_WIDTH = 30


@dataclass
class _Line:
    """The state of a model in the table; `started` and `ended` are times of the monotonic clock, in seconds."""

    started: float
    stage: str = ""
    done: int = 0
    total: int = 0
    model: Model | None = None
    ended: float = 0.0


class LiveTable:
    """A live table: a row for each running model, then the models that ended last, then the total progress."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()
        self._models = self._stale = 0
        self._ended = self._made = 0
        self._started = time.monotonic()
        self._live = RichLive(get_renderable=self.table, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: BatchEvent) -> None:
        with self._lock:
            self._update(event)

    def _update(self, event: BatchEvent) -> None:
        match event:
            case BatchPlanned(models, stale):
                self._models, self._stale = models, stale
            case BatchNote(text):
                self.console.print(f"note: {printable(text)}", markup=False)
            case ModelStarted(name, _):
                self._lines[name] = _Line(time.monotonic())
            case ModelProgress(name, Started(stage)):
                line = self._line(name)
                line.stage, line.total = stage, 0
            case ModelProgress(name, Progress(_, done, total)):
                line = self._line(name)
                line.done, line.total = done, total or 0
            case ModelFinished(model):
                self._end(model)

    def _end(self, model: Model) -> None:
        self._ended += 1
        self._made += model.name in self._lines
        line = self._line(model.name)
        line.model, line.ended = model, time.monotonic()

    def _line(self, name: str) -> _Line:
        return self._lines.setdefault(name, _Line(time.monotonic()))

    def table(self) -> Table:
        """Return as many rows as fit on the terminal, the running models first."""
        with self._lock:
            lines = dict(self._lines)
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for width in (NAME_WIDTH, 38, 16, 8):
            grid.add_column(max_width=width, no_wrap=True, overflow="ellipsis")
        running = [(name, line) for name, line in lines.items() if not line.model]
        ended = sorted(((name, line) for name, line in lines.items() if line.model), key=lambda entry: -entry[1].ended)
        for name, line in [*running, *ended][: max(3, self.console.height - 3)]:
            grid.add_row(shortened(name, NAME_WIDTH), *_cells(line))
        grid.add_row(Text("all", "bold"), f"{self._ended} of {self._models}", self._eta(), _clock(self._started))
        return grid

    def _eta(self) -> str:
        """Estimate the remaining time from the mean time of the models that ended."""
        if not self._made or self._made >= self._stale:
            return ""
        left = (time.monotonic() - self._started) / self._made * (self._stale - self._made)
        return f"about {duration(left)} left"

    def conclude(self, summary: BatchSummary, page: Path) -> None:
        for model in summary.models:
            self.console.print(Text.assemble(f"{model.name}: ", (outcome(model), STYLES[model.state])))
        print_conclusion(summary, page)


def _cells(line: _Line) -> tuple[Text, str | ProgressBar, str]:
    if line.model:
        # the seconds of a model that is up to date are those of the run that made it
        took = "" if line.model.state == "up to date" else duration(line.model.seconds)
        return Text(outcome(line.model), STYLES[line.model.state]), "", took
    is_counted = line.total > 0
    bar = ProgressBar(total=line.total, completed=line.done, width=16) if is_counted else ""
    return Text(line.stage), bar, _clock(line.started)


def _clock(started: float) -> str:
    return duration(time.monotonic() - started)
