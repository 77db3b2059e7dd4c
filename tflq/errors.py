"""Every way in which tflq says no, in one file: what a script may tell apart is an exit code.

    TflqError
    ├── RecipeError       2   the command line or the recipe is wrong
    ├── SourceError       3   the float model cannot be read
    ├── DatasetError      4   the data cannot be read, or cannot calibrate
    ├── ConversionError   5   conversion failed, crashed, timed out, ran out of memory
    ├── EvaluationError   7   the file was made, but it cannot be run or evaluated
    └── Unexpected       70   an exception that tflq did not foresee: an error in tflq itself

Exit code 1 (a gate failed) and 6 (a file breaks its mode's contract) are properties of a result, not errors.
A message says what happened, where, and what to do about it.
"""

from __future__ import annotations

import contextlib
import tempfile
import traceback
from pathlib import Path


class TflqError(Exception):
    """The root of the family; never raised itself."""

    exit_code = 70
    may_pass = False
    """Whether to try again may help: a process died or met a limit, which the inputs alone do not decide."""


class RecipeError(TflqError):
    exit_code = 2


class SourceError(TflqError):
    exit_code = 3


class DatasetError(TflqError):
    exit_code = 4


class ConversionError(TflqError):
    exit_code = 5


class EvaluationError(TflqError):
    exit_code = 7


class Unexpected(TflqError):
    """An error in tflq itself, which costs one model and not the batch."""

    exit_code = 70


def unexpected(error: BaseException, log: Path | None) -> Unexpected:
    """Describe an exception that tflq did not foresee, and write its traceback to the log.

    The traceback goes to a new temporary file if there is no log or if the log cannot be written.
    """
    where = _record(error, log)
    said = " ".join(f"{type(error).__name__}: {error}".split())
    found = f"the log is at {where}" if where else "no log could be written"
    return Unexpected(f"this is an error in tflq: {said}; {found}; please report it")


def _record(error: BaseException, log: Path | None) -> Path | None:
    if log is not None:
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
            return log
    with (
        contextlib.suppress(OSError),
        tempfile.NamedTemporaryFile(
            "w", prefix="tflq-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as new,
    ):
        traceback.print_exception(error, file=new)
        return Path(new.name)
    return None
