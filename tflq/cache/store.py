"""The cache of earlier results: folders of files. The key of each is the hash of everything that it depends on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from tflq import leftovers
from tflq.cache.content import sha256, tree_bytes
from tflq.cache.total import locked_total
from tflq.errors import RecipeError

DEFAULT_LIMIT_GB = 5.0
FREE_SHARE = 0.1
"""A cache that is full is shrunk until this share of its limit is free. So it is rarely listed."""
_MANIFEST = "manifest.json"
_TEMPORARY = ".new"
"""The folder of what is being saved or removed."""
_TOTAL = ".total"


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
        self.refusal = _refusal(root)
        self.notes: list[str] = [self.refusal] if self.refusal else []
        self._saving: dict[tuple[str, str], threading.Thread] = {}

    def has(self, kind: str, key: str) -> bool:
        return not self.refusal and (self._path(kind, key) / _MANIFEST).exists()

    def fetch(self, kind: str, key: str, target: Path) -> bool:
        """Copy the entry into the new folder `target` and check its hashes. Return False if this fails.

        An entry that is being saved in the background is waited for.
        """
        if thread := self._saving.get((kind, key)):
            thread.join()
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
        if self.refusal:
            return
        try:
            with self._temporary() as temporary:
                new = temporary / "entry"
                shutil.copytree(folder, new)
                files = [file for file in new.rglob("*") if file.is_file()]
                hashes = {file.relative_to(new).as_posix(): sha256(file) for file in files}
                (new / _MANIFEST).write_text(json.dumps(hashes), encoding="utf-8")
                is_full = self._put(new, self._path(kind, key))
            if is_full:
                self.shrink(self.limit_bytes, FREE_SHARE)
        except OSError as error:
            self.notes.append(f"nothing could be saved in the cache {self.root}: {error.strerror}")

    def keep_in_background(self, kind: str, key: str, folder: Path) -> None:
        """Do what `keep` does, while the caller goes on. The folder must stay as it is until `wait` returns."""
        if earlier := self._saving.get((kind, key)):
            earlier.join()
        thread = self._saving[kind, key] = threading.Thread(target=self.keep, args=(kind, key, folder))
        thread.start()

    def wait(self) -> None:
        """Wait until all is saved. Only then are `notes` complete."""
        for thread in self._saving.values():
            thread.join()
        self._saving.clear()

    def _put(self, new: Path, place: Path) -> bool:
        """Rename the folder, unless another process has saved the same entry.

        Return whether the entries must be counted, because their total is unknown or above the limit.
        """
        size = tree_bytes(new)
        with locked_total(self.root / _TOTAL) as total:
            total.add(size)  # first: a process that is killed here leaves a total that is too large, never too small
            try:
                new.rename(place)
            except OSError as error:
                total.add(-size)
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            known = total.bytes()
        return known is None or known > self.limit_bytes

    def entries(self) -> list[Entry]:
        """Return all entries, the most recently used first. This lists the whole cache."""
        entries = [_entry(path) for path in self.root.glob("*/") if not path.name.startswith(".")]
        return sorted((entry for entry in entries if entry), key=lambda entry: -entry.last_used)

    def shrink(self, limit_bytes: int, free_share: float = 0.0) -> list[Entry]:
        """Remove the least recently used entries if all are larger than the limit. Return the removed entries.

        The rest leaves `free_share` of the limit free, but the entry that was used last stays if it is within the
        limit.
        """
        if not self.root.is_dir():
            return []
        with self._temporary() as temporary, locked_total(self.root / _TOTAL) as total:
            entries = self.entries()
            kept = _within(entries, limit_bytes, free_share)
            total.set_counted(sum(entry.size_bytes for entry in entries))
            for entry in entries[kept:]:
                _move(entry.path, temporary)
                total.add(-entry.size_bytes)
        return entries[kept:]

    def _remove(self, entry: Path) -> None:
        """Remove the entry in one step, so that no process sees a part of it."""
        with self._temporary() as temporary, locked_total(self.root / _TOTAL) as total:
            if _move(entry, temporary):
                total.add(-tree_bytes(temporary / entry.name))

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """Create a temporary folder from which entries are renamed. Remove those of processes that were killed."""
        place = self.root / _TEMPORARY
        if not self.root.exists():
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(exist_ok=True)
        leftovers.clear(place, "")
        with leftovers.own_folder("", place) as temporary:
            yield Path(temporary)

    def _path(self, kind: str, key: str) -> Path:
        return self.root / f"{kind}-{key[:40]}"


def _refusal(root: Path) -> str:
    """Return why the folder is not used as a cache, or an empty text. Others could replace the results in it."""
    try:
        stat = root.stat()
    except OSError:
        return ""
    if stat.st_uid != os.getuid():
        return f"the cache {root} belongs to another user, so it was not used: set TFLQ_CACHE_DIR to a folder of yours"
    if stat.st_mode & 0o022:
        return f"others can write to the cache {root}, so it was not used: run chmod go-w {root} and tflq cache --clear"
    return ""


def _within(entries: Sequence[Entry], limit_bytes: int, free_share: float) -> int:
    """Return how many of the entries stay, the most recently used first."""
    totals = list(accumulate(entry.size_bytes for entry in entries))
    if not totals or totals[-1] <= limit_bytes:
        return len(totals)
    kept = sum(total <= limit_bytes * (1 - free_share) for total in totals)
    return kept or int(totals[0] <= limit_bytes)


def _move(entry: Path, temporary: Path) -> bool:
    """Move the entry into the folder. Return False if another process has removed it already."""
    try:
        entry.rename(temporary / entry.name)
    except FileNotFoundError:
        return False
    return True


def _entry(path: Path) -> Entry | None:
    """Return the entry in the folder, or None if another process has just removed it."""
    try:
        size = tree_bytes(path)
    except FileNotFoundError:
        return None
    try:
        return Entry(path, size, (path / _MANIFEST).stat().st_mtime)
    except FileNotFoundError:  # nobody can use it, so it is the first to be removed
        return Entry(path, size, 0.0)


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
