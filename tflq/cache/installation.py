"""The installation of files that belong together. If a kill stops it, the next command finishes it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

JOURNAL = "install.json"
"""In the temporary folder of a run: what is to be renamed and removed. It exists while that is being done."""
State = list[int] | None
"""The inode, the size in bytes and the time of modification in ns of a file; None if there is no file."""


@dataclass(frozen=True)
class _Step:
    """A file of the output folder that is replaced, or removed if there is no source."""

    target: str
    source: str
    """Its path in the temporary folder; empty if the target is removed."""
    before: State
    """The file that is replaced or removed."""
    after: State
    """The file that takes its place."""

    @property
    def stays_inside(self) -> bool:
        """Whether both paths are below their folders. A folder from elsewhere may hold a journal with any paths."""
        parts = Path(self.source).parts
        return self.target == Path(self.target).name and ".." not in parts and not Path(self.source).is_absolute()


def install(folder: Path, files: Mapping[str, Path], removed: Iterable[str] = ()) -> None:
    """Move files of a temporary folder into the output folder around it, and remove files there.

    `files` maps names in the output folder to files. OSError if they cannot be written; a folder under one of the
    names is found before the first file is moved.
    """
    output = folder.parent
    for name in files:
        if (output / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output / name))
    steps = [
        *(_Step(name, "", _state(output / name), None) for name in removed),
        *(
            _Step(name, str(file.relative_to(folder)), _state(output / name), _state(file))
            for name, file in files.items()
        ),
    ]
    unfinished = folder / f"{JOURNAL}.new"
    unfinished.write_text(json.dumps([asdict(step) for step in steps]), encoding="ascii")
    unfinished.replace(folder / JOURNAL)
    _carry_out(folder, steps)


def finish(folder: Path) -> None:
    """Finish the installation of a killed run from its temporary folder, if it had begun.

    Nothing is done if another run has changed one of the files since.
    """
    try:
        plain = json.loads((folder / JOURNAL).read_text(encoding="ascii"))
        steps = [_Step(**step) for step in plain]
        if all(
            step.stays_inside and _state(folder.parent / step.target) in (step.before, step.after) for step in steps
        ):
            _carry_out(folder, steps)
    except (OSError, ValueError, TypeError):  # it had not begun, or nothing can be written there
        return


def _carry_out(folder: Path, steps: Iterable[_Step]) -> None:
    for step in steps:
        target = folder.parent / step.target
        if not step.source:
            target.unlink(missing_ok=True)
        else:
            with suppress(FileNotFoundError):  # it was moved before the kill
                (folder / step.source).replace(target)
    (folder / JOURNAL).unlink()


def _state(path: Path) -> State:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns]
