"""Hashes of values, files and folders: SHA-256 in hexadecimal."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from tflq.errors import SourceError


def digest(*parts: str | bytes) -> str:
    """Return the hash of the parts in their order. It depends on where one part ends and the next begins."""
    total = hashlib.sha256()
    for part in parts:
        encoded = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        total.update(len(encoded).to_bytes(8, "little") + encoded)
    return total.hexdigest()


def sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def contents(path: Path) -> str:
    """Return the hash of a file, or of the names and contents of all files below a folder.

    Files that are the same as in an earlier call, by their sizes and times, are not read again. Raise SourceError if a
    file cannot be read.
    """
    try:
        found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        files = tuple(sorted(found, key=Path.as_posix))
        return _contents(path, files, identity(files))
    except OSError as error:
        raise SourceError(f"{error.filename or path}: cannot be read: {error.strerror}") from error


@lru_cache(maxsize=64)
def _contents(path: Path, files: tuple[Path, ...], _identity: str) -> str:
    if files == (path,):
        return sha256(path)
    return digest(*(part for file in files for part in (file.relative_to(path).as_posix(), sha256(file))))


def identity(files: Iterable[Path]) -> str:
    """Return the hash of the files' paths, sizes and times, without reading them.

    Any change of a file changes the hash. A copy may also change it.
    """
    stats = [(str(path.absolute()), path.stat()) for path in files]
    return digest(*(f"{path} {s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}" for path, s in stats))


def tree_bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder, in bytes."""
    return path.stat().st_size if path.is_file() else _folder_bytes(str(path))


def _folder_bytes(folder: str) -> int:
    total = 0
    with os.scandir(folder) as items:
        for item in items:
            if item.is_dir(follow_symlinks=False):
                total += _folder_bytes(item.path)
            elif item.is_file():
                total += item.stat().st_size
    return total
