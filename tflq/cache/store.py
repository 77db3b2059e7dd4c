"""What was made once, kept for the next run: folders of files under a key of all that they were made from."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tflq.cache.content import sha256
from tflq.cache.files import is_running
from tflq.errors import RecipeError

DEFAULT_LIMIT_GB = 5.0
_MANIFEST = "manifest.json"
_TEMPORARY = ".new-"


@dataclass(frozen=True)
class Entry:
    """What is kept under one key; the start of its name tells what it is."""

    path: Path
    size_bytes: int
    last_used: float
    """Seconds since the epoch."""

    @property
    def kind(self) -> str:
        return self.path.name.split("-")[0]


class Store:
    """Entries below one folder, of a bounded size in all; any number of processes may use it at once.

    What cannot be kept or is damaged costs the next run time, and is told in `notes`.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root, self.limit_bytes = root, limit_bytes
        self.notes: list[str] = []

    def has(self, kind: str, key: str) -> bool:
        return (self._path(kind, key) / _MANIFEST).exists()

    def fetch(self, kind: str, key: str, target: Path) -> bool:
        """Copy the entry into a new folder, checked against its hashes; False where there is none, or none whole."""
        for _ in range(2):  # another process may remove it or make it anew while it is copied
            if not self.has(kind, key):
                return False
            if self._copied(self._path(kind, key), target):
                return True
            shutil.rmtree(target, ignore_errors=True)
        self.notes.append(f"the cache entry {self._path(kind, key)} was damaged, so it was made anew")
        self._remove(self._path(kind, key))
        return False

    def _copied(self, entry: Path, target: Path) -> bool:
        try:
            os.utime(entry / _MANIFEST)
            shutil.copytree(entry, target)
            held = json.loads((target / _MANIFEST).read_text(encoding="utf-8"))
            (target / _MANIFEST).unlink()
            return all(sha256(target / name) == digest for name, digest in held.items())
        except (OSError, ValueError, AttributeError, shutil.Error):
            return False

    def keep(self, kind: str, key: str, folder: Path) -> None:
        """Copy the folder into an entry, whole or not at all; one that another process made meanwhile stays."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f"{_TEMPORARY}{os.getpid()}-", dir=self.root) as temporary:
                new = Path(temporary) / "entry"
                shutil.copytree(folder, new)
                files = [file for file in new.rglob("*") if file.is_file()]
                held = {file.relative_to(new).as_posix(): sha256(file) for file in files}
                (new / _MANIFEST).write_text(json.dumps(held), encoding="utf-8")
                _put(new, self._path(kind, key))
            self.shrink(self.limit_bytes)
        except OSError as error:
            self.notes.append(f"nothing could be kept in the cache {self.root}: {error.strerror}")

    def entries(self) -> list[Entry]:
        """All that is kept, what was used last coming first."""
        found = [_entry(path) for path in self.root.glob("*/") if not path.name.startswith(".")]
        return sorted((entry for entry in found if entry), key=lambda entry: -entry.last_used)

    def shrink(self, limit_bytes: int) -> list[Entry]:
        """Remove what was not used for longest until no more than that is left: what was removed."""
        removed, total = [], 0
        for entry in self.entries():
            total += entry.size_bytes
            if total > limit_bytes:
                self._remove(entry.path)
                removed.append(entry)
        for left in self.root.glob(f"{_TEMPORARY}*"):
            if not is_running(int(left.name.removeprefix(_TEMPORARY).split("-")[0])):
                shutil.rmtree(left, ignore_errors=True)
        return removed

    def _remove(self, entry: Path) -> None:
        """At once, so that nobody finds a part of it."""
        prefix = f"{_TEMPORARY}{os.getpid()}-"
        with suppress(FileNotFoundError), tempfile.TemporaryDirectory(prefix=prefix, dir=self.root) as temporary:
            entry.rename(Path(temporary) / "entry")  # not found where another process was faster

    def _path(self, kind: str, key: str) -> Path:
        return self.root / f"{kind}-{key[:40]}"


def _put(new: Path, place: Path) -> None:
    """Move the folder there, unless another process has made the same one."""
    try:
        new.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _entry(path: Path) -> Entry | None:
    """The entry in that folder; None where another process has just removed it."""
    try:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        used = (path / _MANIFEST).stat().st_mtime if (path / _MANIFEST).exists() else 0.0
    except FileNotFoundError:
        return None
    return Entry(path, size, used)


def default_store() -> Store:
    """The store of this user: TFLQ_CACHE_DIR, by default the system's folder for caches, of at most TFLQ_CACHE_GB."""
    from platformdirs import user_cache_path

    given = os.environ.get("TFLQ_CACHE_GB", str(DEFAULT_LIMIT_GB))
    try:
        limit = float(given)
    except ValueError:
        raise RecipeError(f"TFLQ_CACHE_GB is {given!r}; it should be a number of gigabytes") from None
    root = Path(os.environ.get("TFLQ_CACHE_DIR") or user_cache_path("tflq"))
    return Store(root, int(limit * 1e9))
