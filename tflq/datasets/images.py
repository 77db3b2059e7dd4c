"""`{images: photos/, labels: folders}`: a folder of JPEG and PNG files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from tflq.datasets.decode import decode_image
from tflq.datasets.rows import LazyRow, Row, TensorSpec
from tflq.errors import DatasetError
from tflq.special_files import refuse_special
from tflq.strict import RecipePath, Strict

SUFFIXES = (".jpg", ".jpeg", ".png")


def _text(value: Any) -> Any:
    if not value or not isinstance(value, (str, Path)):
        raise ValueError(f"should be folders, none, or the path of a CSV file, not {value!r}")
    return value


class Images(Strict):
    """The JPEG and PNG files of a folder and its sub-folders, sorted by name. Hidden files are skipped.

    Columns: `image` is uint8 [height, width, 3], or [height, width, 1] for a grayscale image. `file` is its path
    relative to the folder. The column `label` exists unless `labels` is `none`.
    """

    EXAMPLE: ClassVar[str] = "{images: photos/, labels: folders}"

    images: RecipePath = Field(description="The folder with .jpg, .jpeg and .png files.")
    labels: Annotated[Literal["folders", "none"] | RecipePath, BeforeValidator(_text)] = Field(
        "none",
        union_mode="left_to_right",
        description="`folders`: the label is the index of the sub-folder, sorted by name, from 0. A path: a CSV file "
        "with the columns file and label; its rows are the dataset, and its labels are numbers.",
    )

    def __str__(self) -> str:
        return str(self.images)

    def files(self) -> list[Path]:
        """Return the files that the rows depend on. A label also depends on the names of the folders."""
        tables = [self.labels] if isinstance(self.labels, Path) else []
        return [*tables, *(self.images / entry.file for entry in self._entries())]

    def count(self) -> int:
        return len(self._entries())

    def rows(self, indices: Sequence[int], _specs: Sequence[TensorSpec] = ()) -> Iterator[Row]:
        entries = self._entries()
        for index in indices:
            yield self._row(entries[index])

    def _row(self, entry: _Entry) -> Row:
        label = {} if entry.label is None else {"label": entry.label}
        return LazyRow({"file": entry.file, **label}, {"image": partial(self._pixels, entry.file)})

    def _pixels(self, file: str) -> np.ndarray:
        path = self.images / file
        try:
            refuse_special(path)
            encoded = path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
        return decode_image(encoded, str(path))

    def _entries(self) -> list[_Entry]:
        if not self.images.is_dir():
            raise DatasetError(f"{self.images}: there is no such folder")
        if isinstance(self.labels, Path):
            return list(_table_entries(self.labels, self.images))
        files = [path.relative_to(self.images) for path in _image_paths(self.images)]
        if not files:
            raise DatasetError(f"{self.images}: has no image: there is no {', '.join(SUFFIXES)} file")
        if self.labels == "none":
            return [_Entry(file.as_posix()) for file in files]
        return [_Entry(file.as_posix(), label) for file, label in zip(files, self._folders(files), strict=True)]

    def _folders(self, files: list[Path]) -> Iterator[int]:
        classes = {folder.name: index for index, folder in enumerate(_subfolders(self.images))}
        for file in files:
            if len(file.parts) < 2:
                raise DatasetError(
                    f"{self.images / file}: has no label, because it is not in a sub-folder: move it into the folder"
                    " of its class, or use labels: none"
                )
            yield classes[file.parts[0]]


@dataclass(frozen=True)
class _Entry:
    """An image: its path relative to the dataset's folder, and its label."""

    file: str
    label: int | float | None = None


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def _image_paths(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in SUFFIXES:
            yield path
        elif path.is_dir():
            yield from _image_paths(path)


def _table_entries(table: Path, folder: Path) -> Iterator[_Entry]:
    try:
        refuse_special(table)
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            absent = {"file", "label"} - set(reader.fieldnames or ())
            if absent:
                raise DatasetError(f"{table}:1: the header should be: file,label")
            for line in reader:
                yield _entry(line, f"{table}:{reader.line_num}", folder)
    except OSError as error:
        raise DatasetError(f"{table}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{table}:{_line_of_no_text(table)}: is not UTF-8 text: save the table as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        raise DatasetError(f"{table}: is not a CSV file: {error}") from error


def _line_of_no_text(table: Path) -> int:
    """Return the number of the first line that is not UTF-8 text."""
    content = table.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return content.count(b"\n", 0, error.start) + 1
    return 1  # the file has changed since


def _entry(line: dict[str, Any], place: str, folder: Path) -> _Entry:
    file, label = line["file"] or "", (line["label"] or "").strip()
    if not (folder / file).is_file():
        raise DatasetError(f"{place}: there is no file {folder / file}")
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", label):
        raise DatasetError(f"{place}: the label {label!r} is not a number: give the index of the class, from 0")
    return _Entry(file, int(label) if label.lstrip("+-").isdecimal() else float(label))
