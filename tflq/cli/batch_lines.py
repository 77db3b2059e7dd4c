"""The display of a batch without a terminal: plain lines for a log, or JSON lines for a program."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Protocol, get_args

import click
from typing_extensions import Self

from tflq.batch import BatchEvent, BatchNote, BatchPlanned, ModelFinished, ModelProgress, ModelStarted
from tflq.batch.page import reasons, totals
from tflq.batch.summary import BatchSummary, Model
from tflq.cli.boundary import note, say
from tflq.verdicts import Status
from tflq.worker import Finished


class BatchDisplay(Protocol):
    """Receives the events of a batch, from several threads."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def __call__(self, event: BatchEvent) -> None: ...

    def conclude(self, summary: BatchSummary, page: Path) -> None:
        """Print the outcome of the batch and the path of the summary page."""


def outcome(model: Model) -> str:
    """Return the state of the model and the number of its variants by status."""
    verdicts = [f"{sum(row.status == s for row in model.rows)} {s}" for s in get_args(Status)]
    counted = ", ".join(verdict for verdict in verdicts if not verdict.startswith("0 "))
    return f"{model.state}: {counted}" if counted else model.state


class PlainDisplay:
    """Prints a line for each event on standard error, and the outcome on standard output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: BatchEvent) -> None:
        match event:
            case BatchPlanned(models, stale):
                say(f"{models} model{'s' * (models != 1)}, {stale} to convert", err=True)
            case BatchNote(text):
                note(text)
            case ModelStarted(name, why):
                say(f"{name}: started: {why}", err=True)
            case ModelProgress(name, Finished(stage, seconds, failed=True)):
                say(f"{name}: {stage}: failed after {seconds:.1f} s", err=True)
            case ModelFinished(model):
                # the seconds of a model that is up to date are those of the run that made it
                took = "" if model.state == "up to date" else f" ({model.seconds:.1f} s)"
                say(f"{model.name}: {outcome(model)}{took}", err=True)

    def conclude(self, summary: BatchSummary, page: Path) -> None:
        print_conclusion(summary, page)


def print_conclusion(summary: BatchSummary, page: Path) -> None:
    """Print the failures, the regressions and the totals on standard output."""
    for model in summary.models:
        for name, why in reasons(model):
            for line in why.splitlines():
                say(f"{name}: {line}")
    for regression in summary.regressions:
        say(f"regression: {regression}")
    say(f"{totals(summary)}\nsummary: {page}")


class JsonLinesDisplay:
    """Prints each event as one line of JSON on standard output."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: BatchEvent) -> None:
        if plain := _plain(event):
            with self._lock:
                click.echo(_line(plain))

    def conclude(self, summary: BatchSummary, page: Path) -> None:
        worse = [str(regression) for regression in summary.regressions]
        end = {"event": "end", "exit_code": summary.exit_code, "seconds": summary.seconds, "regressions": worse}
        click.echo(_line(end | {"summary": str(page.with_suffix(".json"))}))


def _line(plain: dict[str, Any]) -> str:
    """Return the object as one line of JSON. A byte of a file name that is not UTF-8 becomes an escape."""
    return json.dumps(plain, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(event: BatchEvent) -> dict[str, Any] | None:
    """Return the event as an object for JSON, or None if programs do not need it."""
    match event:
        case BatchPlanned(models, stale):
            return {"event": "planned", "models": models, "stale": stale}
        case BatchNote(text):
            return {"event": "note", "text": text}
        case ModelStarted(name, why):
            return {"event": "began", "model": name, "why": why}
        case ModelProgress(name, Finished(stage, seconds, failed)):
            return {"event": "stage", "model": name, "stage": stage, "seconds": seconds, "failed": failed}
        case ModelFinished(model):
            end = {"state": model.state, "exit_code": model.exit_code, "seconds": model.seconds, "why": model.why}
            return {"event": "ended", "model": model.name, **end}
    return None
