"""The installation of files that belong together: an output folder has the files of one run.

If a file cannot be moved, those that were moved are put back. If a kill stops the installation, the next command
finishes it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

JOURNAL = "install.json"
"""In the temporary folder of a run: what is to be renamed and removed. It exists while that is being done."""
REPLACED = "replaced"
"""In the temporary folder of a run: the files that its files replace, until all have been moved."""
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
    for step in steps:
        _keep(folder, step)
    _write_journal(folder, steps)
    try:
        _carry_out(folder, steps)
    except OSError:
        _undo(folder, steps)
        raise


def finish(folder: Path) -> bool:
    """Finish an installation from its temporary folder, if it has begun. Return whether the folder can be removed.

    It has to stay for another try if a file cannot be moved. Nothing is done if another run has changed one of the
    files since.
    """
    try:
        plain = json.loads((folder / JOURNAL).read_text(encoding="ascii"))
        steps = [_Step(**step) for step in plain]
    except (OSError, ValueError, TypeError):  # it has not begun
        return True
    try:
        if all(
            step.stays_inside and _state(folder.parent / step.target) in (step.before, step.after) for step in steps
        ):
            _carry_out(folder, steps)
    except OSError:
        return False
    return True


def is_unfinished(folder: Path) -> bool:
    """Return whether an installation from this temporary folder has begun and not ended."""
    return (folder / JOURNAL).exists()


def _keep(folder: Path, step: _Step) -> None:
    """Keep the file that the step replaces or removes in the temporary folder: a link, or a copy where none can be."""
    if step.before is None:
        return
    kept = folder / REPLACED / step.target
    kept.parent.mkdir(exist_ok=True)
    target = folder.parent / step.target
    try:
        os.link(target, kept, follow_symlinks=False)
    except OSError:
        shutil.copy2(target, kept, follow_symlinks=False)


def _write_journal(folder: Path, steps: Iterable[_Step]) -> None:
    unfinished = folder / f"{JOURNAL}.new"
    unfinished.write_text(json.dumps([asdict(step) for step in steps]), encoding="ascii")
    unfinished.replace(folder / JOURNAL)


def _carry_out(folder: Path, steps: Iterable[_Step]) -> None:
    """Carry out the steps that have not been carried out, and remove the journal."""
    for step in steps:
        target = folder.parent / step.target
        if _state(target) == step.after:
            continue
        if step.source:
            (folder / step.source).replace(target)
        else:
            target.unlink()
    (folder / JOURNAL).unlink()


def _undo(folder: Path, steps: Iterable[_Step]) -> None:
    """Put back what the steps have replaced or removed. OSError if that fails; the journal then says what to do."""
    done = [step for step in steps if _state(folder.parent / step.target) == step.after != step.before]
    back = [_reverse(folder, step) for step in reversed(done)]
    _write_journal(folder, back)
    _carry_out(folder, back)


def _reverse(folder: Path, step: _Step) -> _Step:
    if step.before is None:
        return _Step(step.target, "", step.after, None)
    return _Step(step.target, f"{REPLACED}/{step.target}", step.after, _state(folder / REPLACED / step.target))


def _state(path: Path) -> State:
    try:
        stat = path.lstat()
    except FileNotFoundError:
        return None
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns]
