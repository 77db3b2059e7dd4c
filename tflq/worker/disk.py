"""Recognize an error that a full disk caused, whichever library reports it."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from tflq.errors import ConversionError

FULL = ("No space left on device", "Disk quota exceeded")
REMEDY = "free some space, choose another output folder, or set TMPDIR and TFLQ_CACHE_DIR to folders on another disk"


def disk_full_error(raised: BaseException, stage: str) -> ConversionError | None:
    """Return the error to report if a full disk caused the exception; else None."""
    if not any(_is_full(error) for error in _causes(raised)):
        return None
    error = ConversionError(f"{stage}: no space is left on a disk: {REMEDY}")
    error.may_pass = True
    return error


def _is_full(error: BaseException) -> bool:
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or any(text in str(error) for text in FULL)


def _causes(raised: BaseException) -> Iterator[BaseException]:
    error: BaseException | None = raised
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
