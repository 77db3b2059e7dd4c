"""`{npz: data.npz}`: each array is a column."""

from __future__ import annotations

import errno
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from tflq.datasets.rows import LazyRow, Row, TensorSpec
from tflq.errors import DatasetError
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


class Npz(Strict):
    """Arrays of a NumPy .npz file. Each array is a column, and all have the same number of rows.

    Columns that are not used are not read. A column of `numpy.savez` is memory-mapped, so it may be larger than memory.
    A column of `numpy.savez_compressed` is decompressed whole.
    """

    EXAMPLE: ClassVar[str] = "{npz: data.npz}"

    npz: RecipePath = Field(description="The .npz file, with one array per column. The first dimension is the row.")

    def __str__(self) -> str:
        return str(self.npz)

    def files(self) -> list[Path]:
        """Return the files that the rows depend on."""
        return [self.npz]

    def count(self) -> int:
        return self._columns()[0].shape[0]

    def rows(self, indices: Sequence[int], _specs: Sequence[TensorSpec] = ()) -> Iterator[Row]:
        columns = self._columns()
        for index in indices:
            yield LazyRow({}, {column.name: partial(column.at, index) for column in columns})

    def _columns(self) -> list[_Column]:
        try:
            with zipfile.ZipFile(self.npz) as archive:
                columns = [_column(archive, self.npz, member) for member in archive.infolist()]
        except DAMAGED as error:
            raise DatasetError(f"{self.npz}: is not a complete .npz file, as numpy.savez writes it: {error}") from error
        except OSError as error:
            if error.errno == errno.EINVAL:  # a position in the file is negative
                raise DatasetError(f"{self.npz}: is a damaged .npz file: copy or write it again") from error
            raise DatasetError(f"{self.npz}: cannot be read: {error.strerror}") from error
        self._refuse_unequal(columns)
        return columns

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
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None
    """The position of its bytes in the file, in row-major order; None if they are compressed or in another order."""

    def at(self, index: int) -> Any:
        return self._array[index]

    @cached_property
    def _array(self) -> np.ndarray:
        try:
            if self.offset is not None:
                return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
            with np.load(self.path, allow_pickle=False) as archive:
                array: np.ndarray = archive[self.name]
                return array
        except (*DAMAGED, OSError) as error:
            raise DatasetError(
                f"{self.path}: column {self.name!r} is damaged or cut short: copy or write the file again ({error})"
            ) from error


def _column(archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo) -> _Column:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_column_major, dtype = read_header(stream)
        header_bytes = stream.tell()
    is_stored = member.compress_type == zipfile.ZIP_STORED and not is_column_major and math.prod(shape) > 0
    offset = _start(path, member) + header_bytes if is_stored else None
    return _Column(path, member.filename.removesuffix(".npy"), shape, dtype, offset)


def _start(path: Path, member: zipfile.ZipInfo) -> int:
    """Return the position of the member's bytes, after its local header of 30 bytes, its name and an extra field."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
    return member.header_offset + 30 + int(name_bytes) + int(extra_bytes)
