"""What went into a model's files and what came out, by content, so that the next run makes only what is needed."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from tflq import cache
from tflq.datasets import Python
from tflq.errors import DatasetError
from tflq.metrics import Custom
from tflq.recipe import Recipe

SCHEMA_VERSION = 1
FILE = "stamp.json"
LONGEST = 120
"""Characters of an earlier failure that a reason repeats."""
TICK_NS = 100_000_000
"""Clocks of file systems are coarse: a file that was changed so short a time ago may change again unseen."""


@dataclass(frozen=True)
class FileFingerprint:
    """A file's content, and what the file system said of it then; nothing where that is too young to be trusted."""

    path: str
    sha256: str
    known: tuple[int, ...] | None


@dataclass(frozen=True)
class BuildInputs:
    """All that decides what a run makes."""

    versions: dict[str, str]
    recipe: dict[str, Any]
    files: tuple[FileFingerprint, ...]
    """Paths as seen from the output folder, so that the whole can be moved."""
    unknown_reason: str
    """Why nobody can tell whether the data changed; empty where that can be told."""


@dataclass(frozen=True)
class Stamp:
    """The ingredients of the files that stand in an output folder, and these files."""

    build_inputs: BuildInputs
    outputs: tuple[FileFingerprint, ...]
    again: str
    """What failed in a way that another run may mend; empty where only other ingredients can change the outcome."""


class Fingerprints:
    """Contents of files; one that the file system knows as unchanged since it was read is not read again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], str]] = {}

    def trust(self, fingerprints: Iterable[FileFingerprint], folder: Path) -> None:
        for one in fingerprints:
            if one.known:
                self._known[os.path.normpath(folder.absolute() / one.path)] = (one.known, one.sha256)

    def of(self, path: Path, folder: Path) -> FileFingerprint:
        """The file's print, its path as seen from the folder."""
        absolute = os.path.normpath(path.absolute())
        now, stat = time.time_ns(), path.stat()
        seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        known, sha256 = self._known.get(absolute, (None, ""))
        if known != seen:
            sha256 = cache.sha256(path)
        is_settled = now - max(stat.st_mtime_ns, stat.st_ctime_ns) > TICK_NS
        if is_settled:
            self._known[absolute] = (seen, sha256)
        return FileFingerprint(os.path.relpath(absolute, folder.absolute()), sha256, seen if is_settled else None)

    def of_all(self, paths: Iterable[Path], folder: Path) -> tuple[FileFingerprint, ...]:
        return tuple(self.of(path, folder) for path in sorted(set(paths)) if path.is_file())


def build_inputs(recipe: Recipe, fingerprints: Fingerprints) -> BuildInputs:
    """What goes into the recipe's files now."""
    files, unknown_reason = source_files(recipe), ""
    try:
        files += data_files(recipe)
    except DatasetError as error:
        unknown_reason = str(error)
    plain = recipe.model_dump(mode="json", exclude_none=True, context={"folder": recipe.output})
    versions = cache.versions(trains=recipe.training is not None)
    return BuildInputs(versions, plain, fingerprints.of_all(files, recipe.output), unknown_reason)


def source_files(recipe: Recipe) -> list[Path]:
    path = recipe.model.path
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def data_files(recipe: Recipe) -> list[Path]:
    """The files of the datasets and the code that the recipe names; DatasetError where nobody can tell which."""
    found: list[Path] = []
    learned_from = recipe.training and (recipe.training, recipe.training.validation)
    sections = (recipe.calibration, recipe.evaluation, *(learned_from or ()))
    for dataset in [section.dataset for section in sections if section]:
        files = code_files(dataset) if isinstance(dataset, Python) else dataset.files()
        if files is None:
            raise DatasetError(f"{dataset} is not prepared here yet")
        found += files
    metric = recipe.evaluation.metric if recipe.evaluation else None
    return found + (code_files(metric) if isinstance(metric, Custom) else [])


def code_files(named: Python | Custom) -> list[Path]:
    """The module that holds the function, or all of its package; what that reads in turn nobody can tell."""
    top = named.python.partition(":")[0].split(".")[0]
    found = PathFinder.find_spec(top, [str(named.folder.absolute())]) or PathFinder.find_spec(top)
    if found is None:
        raise DatasetError(f"{named}: Python finds no module {top!r}")
    folders = [Path(folder) for folder in found.submodule_search_locations or ()]
    return [file for folder in folders for file in folder.rglob("*.py")] or [Path(str(found.origin))]


def read(output: Path) -> Stamp | None:
    """The stamp of an output folder; None where it has none that this version understands."""
    try:
        plain = json.loads((output / FILE).read_bytes())
        if plain.pop("schema_version") != SCHEMA_VERSION:
            return None
        given = plain["ingredients"]
        known = BuildInputs(given["versions"], given["recipe"], _prints(given["files"]), given["unknown_reason"])
        return Stamp(known, _prints(plain["outputs"]), plain["again"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _prints(plain: Sequence[Sequence[Any]]) -> tuple[FileFingerprint, ...]:
    return tuple(FileFingerprint(path, sha256, tuple(known) if known else None) for path, sha256, known in plain)


def write(output: Path, stamp: Stamp) -> None:
    used = asdict(stamp.build_inputs) | {"files": [list(vars(one).values()) for one in stamp.build_inputs.files]}
    made = [list(vars(one).values()) for one in stamp.outputs]
    plain = {"schema_version": SCHEMA_VERSION, "ingredients": used, "outputs": made, "again": stamp.again}
    cache.write(output / FILE, json.dumps(plain) + "\n")


def why(stamp: Stamp | None, now: BuildInputs, outputs: Sequence[FileFingerprint]) -> str:
    """Why the files of the output folder must be made; empty where they need not."""
    if stamp is None:
        return "never made by a batch"
    return next(_reasons(stamp, now, outputs), "")


def _reasons(stamp: Stamp, now: BuildInputs, outputs: Sequence[FileFingerprint]) -> Iterator[str]:
    before = stamp.build_inputs
    for package, version in now.versions.items():
        if before.versions.get(package) != version:
            yield f"{package} is {version} now, was {before.versions.get(package)}"
    if keys := _unlike(before.recipe, now.recipe):
        yield f"the recipe changed: {', '.join(keys)}"
    if now.unknown_reason:
        yield f"nobody can tell whether the data changed: {now.unknown_reason}"
    if names := _unlike(_contents(before.files), _contents(now.files)):
        yield f"the input changed: {_some(names)}"
    if names := _unlike(_contents(stamp.outputs), _contents(outputs)):
        yield f"the output is not as it was made: {_some(names)}"
    if stamp.again:
        yield f"failed last time: {textwrap.shorten(stamp.again, LONGEST, placeholder=' …')}"


def _contents(fingerprints: Iterable[FileFingerprint]) -> dict[str, str]:
    return {one.path: one.sha256 for one in fingerprints}


def _unlike(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


def _some(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
