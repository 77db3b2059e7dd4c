"""The stamp of an output folder: the contents of its inputs and outputs. With it, the next run skips the model."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflq import cache
from tflq.errors import DatasetError
from tflq.recipe import Recipe
from tflq.recipe_files import data_files, source_files
from tflq.targets.tools import tool_versions

SCHEMA_VERSION = 1
FILE = "stamp.json"
LONGEST = 120
"""A reason repeats this many characters of an earlier failure."""
TICK_NS = 100_000_000
"""Clocks of file systems are coarse. A file that is younger than this may change without a new time."""


@dataclass(frozen=True)
class FileFingerprint:
    """The content of a file, and its state in the file system; None if the file is too young to trust its times."""

    path: str
    sha256: str
    file_state: tuple[int, ...] | None
    """Inode, size in bytes, and the times of modification and change in ns."""


@dataclass(frozen=True)
class BuildInputs:
    """All inputs that determine the files of a run."""

    versions: dict[str, str]
    recipe: dict[str, Any]
    files: tuple[FileFingerprint, ...]
    """Their paths are relative to the output folder, so that the whole tree can be moved."""
    unknown_reason: str
    """Why it is unknown whether the data changed; empty if it is known."""


@dataclass(frozen=True)
class Stamp:
    """The inputs and the output files of a finished model."""

    build_inputs: BuildInputs
    outputs: tuple[FileFingerprint, ...]
    retry_reason: str
    """The failure for which the next run should try again; empty if only other inputs can change the outcome."""


class Fingerprints:
    """Computes the fingerprints of files. A file with an unchanged state in the file system is not read again."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[tuple[int, ...], str]] = {}

    def remember(self, fingerprints: Iterable[FileFingerprint], folder: Path) -> None:
        """Take over fingerprints whose paths are relative to the folder."""
        for each in fingerprints:
            if each.file_state:
                self._states[os.path.normpath(folder.absolute() / each.path)] = (each.file_state, each.sha256)

    def of(self, path: Path, folder: Path) -> FileFingerprint:
        """Return the fingerprint of the file, with its path relative to the folder."""
        absolute = os.path.normpath(path.absolute())
        now, stat = time.time_ns(), path.stat()
        state = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        earlier_state, sha256 = self._states.get(absolute, (None, ""))
        if earlier_state != state:
            try:
                sha256 = cache.sha256(path)
            except OSError as error:  # the conversion fails, and says why
                return FileFingerprint(os.path.relpath(absolute, folder.absolute()), f"unreadable: {error}", None)
        is_settled = now - max(stat.st_mtime_ns, stat.st_ctime_ns) > TICK_NS
        if is_settled:
            self._states[absolute] = (state, sha256)
        return FileFingerprint(os.path.relpath(absolute, folder.absolute()), sha256, state if is_settled else None)

    def of_all(self, paths: Iterable[Path], folder: Path) -> tuple[FileFingerprint, ...]:
        return tuple(self.of(path, folder) for path in sorted(set(paths)) if path.is_file())


def build_inputs(recipe: Recipe, fingerprints: Fingerprints) -> BuildInputs:
    """Return the present inputs of the recipe's files."""
    files, unknown_reason = source_files(recipe), ""
    try:
        files += data_files(recipe)
    except DatasetError as error:
        unknown_reason = str(error)
    plain = recipe.model_dump(mode="json", exclude_none=True, context={"folder": recipe.output})
    versions = cache.versions(trains=recipe.training is not None) | tool_versions(recipe.checked_targets)
    return BuildInputs(versions, plain, fingerprints.of_all(files, recipe.output), unknown_reason)


def read(output: Path) -> Stamp | None:
    """Return the stamp of an output folder, or None if it has no stamp that this version can read."""
    try:
        plain = json.loads((output / FILE).read_bytes())
        if plain.pop("schema_version") != SCHEMA_VERSION:
            return None
        given = plain["ingredients"]
        inputs = BuildInputs(given["versions"], given["recipe"], _fingerprints(given["files"]), given["untold"])
        return Stamp(inputs, _fingerprints(plain["outputs"]), plain["again"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _fingerprints(plain: Sequence[Sequence[Any]]) -> tuple[FileFingerprint, ...]:
    return tuple(FileFingerprint(path, sha256, tuple(state) if state else None) for path, sha256, state in plain)


def _plain(fingerprints: Sequence[FileFingerprint]) -> list[list[Any]]:
    return [[each.path, each.sha256, each.file_state] for each in fingerprints]


def write(output: Path, stamp: Stamp) -> None:
    """Write the stamp into the output folder, under the keys that `read` expects; OSError if that fails."""
    inputs = stamp.build_inputs
    ingredients = {
        "versions": inputs.versions,
        "recipe": inputs.recipe,
        "files": _plain(inputs.files),
        "untold": inputs.unknown_reason,
    }
    plain = {
        "schema_version": SCHEMA_VERSION,
        "ingredients": ingredients,
        "outputs": _plain(stamp.outputs),
        "again": stamp.retry_reason,
    }
    cache.write(output / FILE, json.dumps(plain) + "\n")


def why(stamp: Stamp | None, now: BuildInputs, outputs: Sequence[FileFingerprint]) -> str:
    """Return why the files of the output folder must be made again; empty if they are up to date."""
    if stamp is None:
        return "never made by a batch"
    return next(_reasons(stamp, now, outputs), "")


def _reasons(stamp: Stamp, now: BuildInputs, outputs: Sequence[FileFingerprint]) -> Iterator[str]:
    before = stamp.build_inputs
    for package, version in now.versions.items():
        if before.versions.get(package) != version:
            yield f"{package} is {version} now, was {before.versions.get(package)}"
    if keys := _changed_keys(before.recipe, now.recipe):
        yield f"the recipe changed: {', '.join(keys)}"
    if now.unknown_reason:
        yield f"it is unknown whether the data changed: {now.unknown_reason}"
    if names := _changed_keys(_contents(before.files), _contents(now.files)):
        yield f"the input changed: {_summary(names)}"
    if names := _changed_keys(_contents(stamp.outputs), _contents(outputs)):
        yield f"the output was changed or removed: {_summary(names)}"
    if stamp.retry_reason:
        yield f"failed last time: {textwrap.shorten(stamp.retry_reason, LONGEST, placeholder=' …')}"


def _contents(fingerprints: Iterable[FileFingerprint]) -> dict[str, str]:
    return {each.path: each.sha256 for each in fingerprints}


def _changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


def _summary(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
