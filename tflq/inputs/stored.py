"""Rows of arrays on disk, one raw file a column: memory is bounded whatever the data, and processes share them."""

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
class Stored:
    """So many rows; any number of processes may read them."""

    folder: Path
    count: int
    columns: Mapping[str, tuple[str, tuple[int, ...]]]
    """The dtype of each, and the shape of one row of it."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Mapped into memory, not read; [count, ...]."""
        return {
            name: np.memmap(self.folder / str(place), np.dtype(dtype), "r", shape=(self.count, *shape))
            for place, (name, (dtype, shape)) in enumerate(self.columns.items())
        }


class Writer:
    """Appends rows, whose number need not be known before; leaving the context ends the files."""

    def __init__(self, folder: Path, section: str) -> None:
        """`section`: the recipe's that the rows are of, for messages."""
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
        """DatasetError where a column is not of the shape that it had in the first row."""
        if not self.count:
            self._columns = {name: (str(array.dtype), array.shape) for name, array in row.items()}
            paths = [self.folder / str(place) for place in range(len(row))]
            self._files = [self._open.enter_context(path.open("wb")) for path in paths]
        for file, (name, (_, shape)) in zip(self._files, self._columns.items(), strict=True):
            if row[name].shape != shape:
                raise DatasetError(
                    f"{self.section}: samples of {name!r} differ in shape, {brackets(shape)} and"
                    f" {brackets(row[name].shape)}, so that they make no batch: say inputs.{name}.resize"
                )
            row[name].tofile(file)
        self.count += 1

    @property
    def stored(self) -> Stored:
        """All that was added; to be read once the context is left."""
        return Stored(self.folder, self.count, self._columns)
