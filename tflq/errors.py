"""All errors of tflq. Each class has its own exit code, so that a script can tell them apart.

    TflqError
    ├── RecipeError       2   the command line or the recipe is wrong
    ├── SourceError       3   the float model cannot be read
    ├── DatasetError      4   the data cannot be read or cannot be used for calibration
    ├── ConversionError   5   the conversion failed, crashed, timed out or ran out of memory
    ├── EvaluationError   7   the file was written, but it cannot be run or evaluated
    ├── ClusterError      8   the Dask cluster was lost before the model was converted
    └── Unexpected       70   an unexpected exception, which is an error in tflq itself

Exit codes 1 (a gate failed) and 6 (a file breaks the contract of its mode) are properties of a result, not errors.
A message says what happened, where, and what to do.
"""

from __future__ import annotations

import contextlib
import errno
import re
import tempfile
import traceback
from pathlib import Path

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and newline, changes of the writing direction, and bytes that are not UTF-8."""

REFUSALS = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG", "EBUSY", "ETXTBSY", "ENXIO"),
        *("EIO", "ENOSPC", "EDQUOT", "EFBIG", "ESTALE", "EMFILE", "ENFILE"),
    )
)
"""The error numbers that come from a path, its permissions or the disk, and not from an error in tflq."""


class TflqError(Exception):
    """The base class of all errors of tflq. It is never raised itself."""

    exit_code = 70
    may_pass = False
    """Whether another try may succeed, because a process died or met a limit."""


class RecipeError(TflqError):
    """The command line or the recipe is wrong."""

    exit_code = 2


class SourceError(TflqError):
    """The float model cannot be read."""

    exit_code = 3


class DatasetError(TflqError):
    """The data cannot be read or cannot be used for calibration."""

    exit_code = 4


class ConversionError(TflqError):
    """The conversion failed, crashed, timed out or ran out of memory."""

    exit_code = 5


class EvaluationError(TflqError):
    """The file was written, but it cannot be run or evaluated."""

    exit_code = 7


class ClusterError(TflqError):
    """The Dask cluster was lost before the model was converted. Another run converts it."""

    exit_code = 8


class UnexpectedError(TflqError):
    """An error in tflq itself. In a batch, it stops one model and not the others."""

    exit_code = 70


def printable(text: str) -> str:
    """Return the text with an escape, such as \\x1b, for each character that a terminal would obey or cannot show."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def printable_line(text: str) -> str:
    """Return the same for a text, such as the name of a file, that has to stay in one line."""
    return printable(text).replace("\n", r"\n")


def unexpected(error: BaseException, log: Path | None) -> TflqError:
    """Describe an unexpected exception, and write its traceback to the log.

    The traceback goes to a new temporary file if there is no log or if the log cannot be written. A path that the
    system refuses is a RecipeError and needs no log.
    """
    if isinstance(error, OSError) and error.errno in REFUSALS:
        path = error.filename2 or error.filename or "a file"
        return RecipeError(f"{path}: {error.strerror}; check the path, its permissions and the disk")
    written = _write_traceback(error, log)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    log_text = f"the log is at {written}" if written else "no log could be written"
    return UnexpectedError(f"this is an error in tflq: {text}; {log_text}; please report it")


def _write_traceback(error: BaseException, log: Path | None) -> Path | None:
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
