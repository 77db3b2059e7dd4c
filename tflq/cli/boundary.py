"""Where errors become messages and exit codes, and reports JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tflq.errors import TflqError

if TYPE_CHECKING:
    from tflq.result import Result

INTERRUPTED = 130


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
        click.echo("interrupted; the files of the last run are as they were", err=True)
        sys.exit(INTERRUPTED)


def complain(error: TflqError, about: str = "") -> None:
    for line in str(error).splitlines():
        click.echo(f"{click.style('error:', fg='red')} {about}{line}", err=True)


def print_json(outcomes: Sequence[Result | TflqError]) -> None:
    """One report, or a list of them where several recipes were given."""
    from tflq.report.machine import to_json

    click.echo(to_json(outcomes[0] if len(outcomes) == 1 else outcomes), nl=False)
