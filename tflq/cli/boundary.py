"""Where errors become messages and exit codes, and reports JSON."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from tflq.errors import TflqError

if TYPE_CHECKING:
    from tflq.result import Result

INTERRUPTED = 130
SAID = "interrupted; the files are as the last finished run left them"


def heed_interrupts() -> None:
    """Let Ctrl-C amid an import end the process at once: pydantic loses a KeyboardInterrupt while it builds models.

    Whoever has the signal ignored, as nohup does, or handled otherwise, keeps that.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(_: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            os.write(2, f"{SAID}\n".encode())
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


@contextmanager
def boundary(as_json: bool = False) -> Iterator[None]:
    """The one place where an error becomes a message and an exit code."""
    try:
        yield
    except TflqError as error:
        complain(error)
        if as_json:
            print_json([error])
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo(SAID, err=True)
        sys.exit(INTERRUPTED)


def complain(error: TflqError, about: str = "") -> None:
    for line in str(error).splitlines():
        click.echo(f"{click.style('error:', fg='red')} {about}{line}", err=True)


def note(text: str) -> None:
    """Print a note on standard error: worth knowing, and not an error."""
    click.echo(f"{click.style('note:', fg='yellow')} {text}", err=True)


def print_json(outcomes: Sequence[Result | TflqError]) -> None:
    """One report, or a list of them where several recipes were given."""
    from tflq.report.machine import to_json

    click.echo(to_json(outcomes[0] if len(outcomes) == 1 else outcomes), nl=False)
