"""The cache of earlier results: folders of files. The key of each is the hash of everything that it depends on."""

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
    """A folder of the cache. Its name starts with its kind."""

    path: Path
    size_bytes: int
    last_used: float
    """The time of the last use, in seconds since the epoch."""

    @property
    def kind(self) -> str:
        return self.path.name.split("-")[0]


class Store:
    """The entries below one folder, with a limit of their total size. Several processes may use it at once.

    If an entry is damaged or cannot be saved, a later run takes longer, and `notes` says so.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root, self.limit_bytes = root, limit_bytes
        self.notes: list[str] = []

    def has(self, kind: str, key: str) -> bool:
        return (self._path(kind, key) / _MANIFEST).exists()

    def fetch(self, kind: str, key: str, target: Path) -> bool:
        """Copy the entry into the new folder `target` and check its hashes. Return False if this fails."""
        for _ in range(2):  # another process may replace the entry during the copy
            if not self.has(kind, key):
                return False
            if self._copied(self._path(kind, key), target):
                return True
            shutil.rmtree(target, ignore_errors=True)
        self.notes.append(f"the cache entry {self._path(kind, key)} was damaged, so it is computed again")
        self._remove(self._path(kind, key))
        return False

    def _copied(self, entry: Path, target: Path) -> bool:
        try:
            os.utime(entry / _MANIFEST)
            shutil.copytree(entry, target)
            hashes = json.loads((target / _MANIFEST).read_text(encoding="utf-8"))
            (target / _MANIFEST).unlink()
            return all(sha256(target / name) == digest for name, digest in hashes.items())
        except (OSError, ValueError, AttributeError, shutil.Error):
            return False

    def keep(self, kind: str, key: str, folder: Path) -> None:
        """Copy the folder into an entry, completely or not at all. An entry that another process has saved stays."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f"{_TEMPORARY}{os.getpid()}-", dir=self.root) as temporary:
                new = Path(temporary) / "entry"
                shutil.copytree(folder, new)
                files = [file for file in new.rglob("*") if file.is_file()]
                hashes = {file.relative_to(new).as_posix(): sha256(file) for file in files}
                (new / _MANIFEST).write_text(json.dumps(hashes), encoding="utf-8")
                _put(new, self._path(kind, key))
            self.shrink(self.limit_bytes)
        except OSError as error:
            self.notes.append(f"nothing could be saved in the cache {self.root}: {error.strerror}")

    def entries(self) -> list[Entry]:
        """Return all entries, the most recently used first."""
        entries = [_entry(path) for path in self.root.glob("*/") if not path.name.startswith(".")]
        return sorted((entry for entry in entries if entry), key=lambda entry: -entry.last_used)

    def shrink(self, limit_bytes: int) -> list[Entry]:
        """Remove the least recently used entries until the rest is within the limit. Return the removed entries."""
        removed, total = [], 0
        for entry in self.entries():
            total += entry.size_bytes
            if total > limit_bytes:
                self._remove(entry.path)
                removed.append(entry)
        for leftover in self.root.glob(f"{_TEMPORARY}*"):
            if not is_running(int(leftover.name.removeprefix(_TEMPORARY).split("-")[0])):
                shutil.rmtree(leftover, ignore_errors=True)
        return removed

    def _remove(self, entry: Path) -> None:
        """Remove the entry in one step, so that no process sees a part of it."""
        prefix = f"{_TEMPORARY}{os.getpid()}-"
        with suppress(FileNotFoundError), tempfile.TemporaryDirectory(prefix=prefix, dir=self.root) as temporary:
            entry.rename(Path(temporary) / "entry")  # another process may have removed it already

    def _path(self, kind: str, key: str) -> Path:
        return self.root / f"{kind}-{key[:40]}"


def _put(new: Path, place: Path) -> None:
    """Rename the folder, unless another process has saved the same entry."""
    try:
        new.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _entry(path: Path) -> Entry | None:
    """Return the entry in the folder, or None if another process has just removed it."""
    try:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        used = (path / _MANIFEST).stat().st_mtime if (path / _MANIFEST).exists() else 0.0
    except FileNotFoundError:
        return None
    return Entry(path, size, used)


def default_store() -> Store:
    """Return the cache of this user.

    TFLQ_CACHE_DIR is its folder, by default the system's folder for caches. TFLQ_CACHE_GB is its limit in gigabytes.
    Raise RecipeError if TFLQ_CACHE_GB is not a number.
    """
    from platformdirs import user_cache_path

    text = os.environ.get("TFLQ_CACHE_GB", str(DEFAULT_LIMIT_GB))
    try:
        limit = float(text)
    except ValueError:
        raise RecipeError(f"TFLQ_CACHE_GB is {text!r}; it should be a number of gigabytes") from None
    root = Path(os.environ.get("TFLQ_CACHE_DIR") or user_cache_path("tflq"))
    return Store(root, int(limit * 1e9))
