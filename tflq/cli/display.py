"""The display of progress: bars on a terminal, lines elsewhere, and nothing if only the report is printed."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from typing_extensions import Self

from tflq import worker
from tflq.worker import Event, Finished, LogText, Started


class ProgressDisplay:
    """Listens to the events of a run. As a context manager, it removes its bars at the end."""

    def __init__(self, console: Console, is_verbose: bool, is_silent: bool) -> None:
        self.console, self.is_verbose, self.is_silent = console, is_verbose, is_silent
        self.bars: dict[str, TaskID] = {}
        self.notes: dict[str, str] = {}
        self.done = 0
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=is_silent or not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Started(stage):
                self.bars[stage] = self.progress.add_task(stage, total=None, count="")
            case worker.Progress(stage, done, total, note):
                count = f"{done}/{total} {note}" if total else f"{done} {note}".rstrip()
                self._print_note(stage, note)
                self.progress.update(self.bars[stage], completed=done, total=total, count=count)
            case Finished():
                self._finish(event)
            case LogText(text):
                if self.is_verbose:
                    self.console.print(text, end="", markup=False, highlight=False, style="dim")

    def _print_note(self, stage: str, note: str) -> None:
        """Print a new note if there is no bar that shows it."""
        if note and note != self.notes.get(stage) and not self.is_silent and not self.console.is_terminal:
            self.console.print(f"{stage}: {note}", highlight=False, soft_wrap=True)
        self.notes[stage] = note

    def _finish(self, event: Finished) -> None:
        self.done += 1
        self.progress.remove_task(self.bars.pop(event.stage))
        if not self.is_silent and not self.console.is_terminal:
            outcome = "failed after" if event.failed else "done in"
            self.console.print(f"{event.stage}: {outcome} {event.seconds:.1f} s", highlight=False, soft_wrap=True)
