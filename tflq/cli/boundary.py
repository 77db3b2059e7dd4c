"""Where errors become messages and exit codes, and reports JSON."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

import click

from tflq.cli.options import CommandOptions, stored_options
from tflq.errors import TflqError, unexpected

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


LEFT_TO_CLICK = (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError)
"""What click itself turns into a message and an exit code."""


class Outermost:
    """Around every command: what no command foresaw becomes one line and exit code 70, the traceback goes to the log.

    It is a context manager because no handler in this package catches `Exception`: what goes wrong anywhere inside
    must be caught by its name, and only here, where the process ends with it, is every exception the same.
    """

    def __init__(self, context: click.Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(raised, KeyboardInterrupt):  # click would exit with 1, the code of a gate that failed
            click.echo(SAID, err=True)
            sys.exit(INTERRUPTED)
        if not isinstance(raised, Exception) or isinstance(raised, LEFT_TO_CLICK):
            return
        options = stored_options(self._context, CommandOptions)
        error = raised if isinstance(raised, TflqError) else unexpected(raised, options.log)
        complain(error)
        if options.as_json:
            print_json([error])
        sys.exit(error.exit_code)


def complain(error: TflqError, about: str = "") -> None:
    for line in str(error).splitlines():
        click.echo(f"{click.style('error:', fg='red')} {about}{line}", err=True)


def note(text: str) -> None:
    """Print a note on standard error: worth knowing, and not an error."""
    click.echo(f"{click.style('note:', fg='yellow')} {text}", err=True)


def print_json(outcomes: Sequence[Result | TflqError]) -> None:
    """One report, or a list of them where several recipes were given."""
    from tflq.report.json_report import to_json

    click.echo(to_json(outcomes[0] if len(outcomes) == 1 else outcomes), nl=False)
