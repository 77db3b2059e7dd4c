"""`{npz: data.npz}`: each array is a column."""

from __future__ import annotations

import errno
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from pydantic import Field

from tflq import cache
from tflq.datasets.rows import LazyRow, Row, TensorSpec
from tflq.errors import DatasetError
from tflq.special_files import refuse_special
from tflq.strict import RecipePath, Strict

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    SyntaxError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    OverflowError,
    MemoryError,
)
"""The exceptions of a damaged archive, or of the header of an array in it, which is a Python literal."""
NPY = b"\x93NUMPY"
"""The start of a .npy file."""
BLOCK_BYTES = 1 << 20
END_BYTES = 22
"""The size of the record at the end of an archive, whose bytes 10 and 11 are the number of members."""


class Npz(Strict):
    """Arrays of a NumPy .npz file. Each array is a column, and all have the same number of rows.

    A column of `numpy.savez` is memory-mapped, so it may be larger than memory. Its checksum is checked once, before
    rows are chosen. A column of `numpy.savez_compressed` is decompressed whole, if it is used.
    """

    EXAMPLE: ClassVar[str] = "{npz: data.npz}"

    npz: RecipePath = Field(description="The .npz file, with one array per column. The first dimension is the row.")

    def __str__(self) -> str:
        return str(self.npz)

    def files(self) -> list[Path]:
        """Return the files that the rows depend on."""
        return [self.npz]

    def count(self) -> int:
        columns = self._columns()
        _check_stored(self.npz, cache.identity([self.npz]))
        return columns[0].shape[0]

    def rows(self, indices: Sequence[int], _specs: Sequence[TensorSpec] = ()) -> Iterator[Row]:
        columns = self._columns()
        for index in indices:
            yield LazyRow({}, {column.name: partial(column.at, index) for column in columns})

    def _columns(self) -> list[_Column]:
        try:
            refuse_special(self.npz)
            with zipfile.ZipFile(self.npz) as archive:
                columns = [_column(archive, self.npz, member) for member in _members(archive, self.npz)]
        except DAMAGED as error:
            self._refuse_npy()
            raise DatasetError(f"{self.npz}: is not a complete .npz file, as numpy.savez writes it: {error}") from error
        except OSError as error:
            if error.errno == errno.EINVAL:  # a position in the file is negative
                raise DatasetError(f"{self.npz}: is a damaged .npz file: copy or write it again") from error
            raise DatasetError(f"{self.npz}: cannot be read: {error.strerror}") from error
        self._refuse_unequal(columns)
        return columns

    def _refuse_npy(self) -> None:
        with self.npz.open("rb") as file:
            if file.read(len(NPY)) == NPY:
                raise DatasetError(
                    f"{self.npz}: is a .npy file with one array: save it under the name of its column, as"
                    " numpy.savez('data.npz', column=array) does"
                )

    def _refuse_unequal(self, columns: list[_Column]) -> None:
        if not columns:
            raise DatasetError(f"{self.npz}: has no arrays")
        for column in columns:
            if column.dtype.hasobject:
                raise DatasetError(
                    f"{self.npz}: column {column.name!r} holds Python objects, which are not read because they may run"
                    " code: save an array of numbers, with all rows of one shape"
                )
            if not column.shape:
                raise DatasetError(
                    f"{self.npz}: column {column.name!r} is a single value without rows: remove it from the file"
                )
        if len({column.shape[0] for column in columns}) > 1:
            sizes = ", ".join(f"{column.name} has {column.shape[0]}" for column in columns)
            raise DatasetError(f"{self.npz}: the columns differ in their number of rows: {sizes}")


@dataclass(frozen=True)
class _Column:
    """An array of the file, which is read when a row needs it."""

    path: Path
    member: str
    """The name of its file in the archive."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None
    """The position of its bytes in the file, in row-major order; None if they are compressed or in another order."""

    @property
    def name(self) -> str:
        return self.member.removesuffix(".npy")

    def at(self, index: int) -> Any:
        return self._array[index]

    @cached_property
    def _array(self) -> np.ndarray:
        try:
            if self.offset is not None:
                return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
                _read_on(stream)
                return array
        except (*DAMAGED, OSError) as error:
            raise _damaged(self.path, self.name, error) from error


@lru_cache(maxsize=16)
def _check_stored(path: Path, _identity: str) -> None:
    """Raise DatasetError if the checksum of a column that is not compressed is wrong.

    A process reads a file once as long as its identity stays the same.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type == zipfile.ZIP_STORED:
                try:
                    with archive.open(member) as stream:
                        _read_on(stream)
                except (*DAMAGED, OSError) as error:
                    raise _damaged(path, member.filename.removesuffix(".npy"), error) from error


def _read_on(stream: IO[bytes]) -> None:
    """Read to the end of a member, where zipfile compares its checksum."""
    while stream.read(BLOCK_BYTES):
        pass


def _damaged(path: Path, column: str, error: Exception) -> DatasetError:
    return DatasetError(f"{path}: column {column!r} is damaged or cut short: copy or write the file again ({error})")


def _members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """Return the members of the archive. Raise BadZipFile if their number is not the one at its end.

    zipfile skips members if the length of a comment is wrong. An archive with more than 65,534 members has no number.
    """
    with path.open("rb") as file:
        file.seek(-END_BYTES - len(archive.comment), os.SEEK_END)
        stated = int.from_bytes(file.read(END_BYTES)[10:12], "little")
    members = archive.infolist()
    if stated not in (len(members), 0xFFFF):
        raise zipfile.BadZipFile(f"it has {len(members)} arrays, but should have {stated}")
    return members


def _column(archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo) -> _Column:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_column_major, dtype = read_header(stream)
        header_bytes = stream.tell()
    is_stored = member.compress_type == zipfile.ZIP_STORED and not is_column_major and math.prod(shape) > 0
    offset = _start(path, member) + header_bytes if is_stored else None
    return _Column(path, member.filename, shape, dtype, offset)


def _start(path: Path, member: zipfile.ZipInfo) -> int:
    """Return the position of the member's bytes, after its local header of 30 bytes, its name and an extra field."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
    return member.header_offset + 30 + int(name_bytes) + int(extra_bytes)
