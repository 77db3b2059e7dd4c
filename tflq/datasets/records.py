"""The framing of TFRecord files, read without TensorFlow: uint64 length, its CRC, the bytes, their CRC.

The CRC of each length is checked, and that of the bytes of each record that is read.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from tflq.errors import DatasetError
from tflq.special_files import refuse_special

File = gzip.GzipFile | io.BufferedReader
MAX_BYTES = 2**31
"""The largest size of a Protocol Buffers message, in bytes."""


@dataclass(frozen=True)
class Segment:
    """Consecutive records of a file."""

    path: Path
    first: int
    count: int


def count(path: Path) -> int:
    """Return the number of records in the file. Raise DatasetError if it is not a TFRecord file."""
    with _open(path) as file:
        return sum(1 for _ in _lengths(file, path))


def read(segments: Iterable[Segment], indices: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """Yield a name for messages and the bytes of each record.

    The indices count the records of all segments, and increase. Raise DatasetError if a file cannot be read.
    """
    start = 0
    for segment in segments:
        stop = start + segment.count
        here = indices[bisect_left(indices, start) : bisect_left(indices, stop)]
        if len(here):
            yield from _read(segment.path, [index - start + segment.first for index in here])
        if len(indices) == 0 or indices[-1] < stop:
            return
        start = stop


def _read(path: Path, positions: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    remaining = iter(positions)
    following = next(remaining)
    with _open(path) as file:
        for position, length in enumerate(_lengths(file, path)):
            if position == following:
                yield f"{path}: record {position}", _checked(file.read(length + 4), path, position)
                if (following := next(remaining, -1)) < 0:
                    return


def _checked(record: bytes, path: Path, position: int) -> bytes:
    """Return the record without its CRC. Raise DatasetError if they do not belong together."""
    if _masked_crc(record[:-4]) != record[-4:]:
        raise DatasetError(
            f"{path}: record {position}: its checksum is wrong, so it is damaged: copy or write it again"
        )
    return record[:-4]


def _masked_crc(content: bytes) -> bytes:
    """Return the CRC as TensorFlow writes it: CRC-32C, rotated and shifted (tensorflow/core/lib/hash/crc32c.h)."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _lengths(file: File, path: Path) -> Iterator[int]:
    """Yield the length of each record in bytes. The position of the file is then the record's first byte."""
    while header := file.read(12):
        length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else MAX_BYTES
        if length >= MAX_BYTES or _masked_crc(header[:8]) != header[8:]:
            raise DatasetError(
                f"{path}: is not a TFRecord file, is damaged, or is compressed but its name does not end in .gz"
            )
        start = file.tell()
        yield length
        file.seek(start + length)
        if len(file.read(4)) < 4:
            raise DatasetError(f"{path}: is truncated: copy or write it again")


@contextmanager
def _open(path: Path) -> Iterator[File]:
    try:
        refuse_special(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except gzip.BadGzipFile as error:
        raise DatasetError(
            f"{path}: is damaged, or is not compressed with gzip though its name ends in .gz: copy or rename it"
        ) from error
    except (EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: is damaged or cut short: copy or write it again") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
