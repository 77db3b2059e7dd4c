"""Rows of arrays on disk, one raw file per column. They may be larger than memory, and processes share them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from typing_extensions import Self

from tflq.datasets import Sample, brackets
from tflq.errors import DatasetError


@dataclass(frozen=True)
class StoredRows:
    """Rows on disk. Any number of processes may read them."""

    folder: Path
    count: int
    columns: Mapping[str, tuple[str, tuple[int, ...]]]
    """Column name → its dtype and the shape of one row."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return column name → memory-mapped array [count, ...]. ValueError if the files have fewer rows."""
        return {
            name: np.memmap(self.folder / str(place), np.dtype(dtype), "r", shape=(self.count, *shape))
            for place, (name, (dtype, shape)) in enumerate(self.columns.items())
        }

    def copy_first(self, count: int, folder: Path) -> None:
        """Write the first rows, at most `count`, into the folder."""
        for place, array in enumerate(self.arrays().values()):
            array[:count].tofile(folder / str(place))


class RowWriter:
    """Appends rows to files. Leaving the context closes the files."""

    def __init__(self, folder: Path, section: str) -> None:
        """`section` is the section of the recipe that gives the rows. Messages name it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.section, self.count = folder, section, 0
        self._columns: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._files: list[BinaryIO] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, row: Sample) -> None:
        """Append a row. Raise DatasetError if a column does not have the shape that it has in the first row."""
        if not self.count:
            self._columns = {name: (str(array.dtype), array.shape) for name, array in row.items()}
            paths = [self.folder / str(place) for place in range(len(row))]
            self._files = [self._open.enter_context(path.open("wb")) for path in paths]
        for file, (name, (_, shape)) in zip(self._files, self._columns.items(), strict=True):
            if row[name].shape != shape:
                raise DatasetError(
                    f"{self.section}: samples of {name!r} differ in shape, {brackets(shape)} and"
                    f" {brackets(row[name].shape)}, so they cannot form a batch: set inputs.{name}.resize"
                )
            row[name].tofile(file)
        self.count += 1

    @property
    def stored(self) -> StoredRows:
        """All rows that were added. Read them only after the context is left."""
        return StoredRows(self.folder, self.count, self._columns)
