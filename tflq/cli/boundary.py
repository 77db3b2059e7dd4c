"""Errors become messages and exit codes here, and reports become JSON."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, NoReturn

import click

from tflq.cli.options import CommandOptions, stored_options
from tflq.errors import TflqError, printable, unexpected

if TYPE_CHECKING:
    from tflq.result import Result

INTERRUPTED = 130
RETRY_SECONDS = 0.02
"""The time after which the signal is sent again if it came during an import."""
INTERRUPTED_TEXT = "interrupted; the output files of the last finished run are unchanged"


def install_interrupt_handler() -> None:
    """Make Ctrl-C during the first imports end the process at once, and wait during a later import until it has ended.

    Otherwise pydantic would lose a KeyboardInterrupt while it builds models, and a run that has begun must clean up. A
    process that ignores the signal, as nohup does, or that has a handler of its own, is left as it is.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handle_interrupt)


def _handle_interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            if "tflq.pipeline" not in sys.modules:  # no run has begun that must clean up
                _end_at_once()
            again = threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _end_at_once() -> NoReturn:
    """End this process, and the fork server, which would go on with its import."""
    getattr(sys.modules.get("tflq.worker"), "kill_fork_server", lambda: None)()
    os.write(2, f"{INTERRUPTED_TEXT}\n".encode())
    os._exit(INTERRUPTED)


@contextmanager
def boundary(as_json: bool = False, recipe: Path | None = None, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Turn a TflqError into a message and an exit code; with `as_json`, also print it as a report.

    The message has the place of the key that it is about, if that is in the recipe or in the overrides.
    """
    try:
        yield
    except TflqError as error:
        complain(error, _place(error, recipe, overrides))
        if as_json:
            print_json([error])
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo(INTERRUPTED_TEXT, err=True)
        sys.exit(INTERRUPTED)


def _place(error: TflqError, recipe: Path | None, overrides: Sequence[str]) -> str:
    """Return what the message starts with: the place of its key, or nothing if the recipe itself cannot be read."""
    from tflq.recipe import place_of

    if recipe is None or str(error).startswith(f"{recipe}:"):
        return ""
    try:
        place = place_of(error, recipe, overrides)
    except TflqError:
        return ""
    return f"{place}: " if place else ""


CLICK_EXCEPTIONS = (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError)
"""The exceptions that click itself turns into a message and an exit code."""


class UnexpectedErrorBoundary:
    """Surrounds every command. An exception that no command expects becomes one line and exit code 70.

    The traceback goes to the log. This is a context manager because the package has no `except Exception`: all other
    code catches exceptions by name. Only here, where the process ends, are all exceptions treated alike.
    """

    def __init__(self, context: click.Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(raised, KeyboardInterrupt):  # click would exit with 1, the code of a failed gate
            click.echo(INTERRUPTED_TEXT, err=True)
            sys.exit(INTERRUPTED)
        if not isinstance(raised, Exception) or isinstance(raised, CLICK_EXCEPTIONS):
            return
        options = stored_options(self._context, CommandOptions)
        error = raised if isinstance(raised, TflqError) else unexpected(raised, options.log)
        complain(error)
        if options.as_json:
            print_json([error])
        sys.exit(error.exit_code)


def complain(error: TflqError, prefix: str = "") -> None:
    """Print each line of the error on standard error, with the prefix before it."""
    for line in str(error).splitlines():
        say(f"{prefix}{line}", err=True, label=click.style("error:", fg="red"))


def note(text: str) -> None:
    """Print a note on standard error. A note is no error, but the user should read it."""
    say(text, err=True, label=click.style("note:", fg="yellow"))


def say(text: str, err: bool = False, label: str = "") -> None:
    """Print the text. Names and values in it are data, so characters that a terminal would obey are escaped."""
    click.echo(f"{label} {printable(text)}" if label else printable(text), err=err)


def print_json(outcomes: Sequence[Result | TflqError]) -> None:
    """Print one report, or a list of reports if several recipes were given."""
    from tflq.report.json_report import to_json

    click.echo(to_json(outcomes[0] if len(outcomes) == 1 else outcomes), nl=False)
