"""A YAML text as plain data, with the file and line of each part."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import Self

from tflq.strict.words import MISSING

Location = tuple[str | int, ...]


class PlacedText(str):
    """Text with the folder of its file. If the text is a path, it is relative to that folder."""

    folder: Path

    def __new__(cls, text: str, folder: Path) -> Self:
        placed = super().__new__(cls, text)
        placed.folder = folder
        return placed


@dataclass
class YamlSource:
    """A YAML text as plain data, with the place (`file:line`) of each part, and the errors found while reading."""

    name: str
    data: Any = None
    has_lines: bool = True
    """Whether places have a line number."""
    places: dict[Location, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    files: tuple[Path, ...] = ()
    """The files from which the text was read."""

    def place(self, mark: yaml.Mark | None) -> str:
        return f"{self.name}:{mark.line + 1}" if self.has_lines and mark else self.name

    def at(self, location: Location) -> Any:
        """Return the value at that location, or None if there is none."""
        value = self.data
        for part in location:
            try:
                value = value[part]
            except (LookupError, TypeError):
                return None
        return value

    def error(self, location: Location, message: str) -> str:
        """Return `file:line: key: message`. Parts of the location that the file does not have are left out."""
        present: Location = ()
        for part in location:
            present = (*present, part) if (*present, part) in self.places else present
        shown_location = (*present, location[-1]) if message == MISSING else present
        key = ".".join(map(str, shown_location))
        return f"{self.places.get(present, self.name)}: {key + ': ' if key else ''}{message}"
