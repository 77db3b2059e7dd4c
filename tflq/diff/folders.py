"""The pairs of files in two output folders, and what their reports say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tflq import cache
from tflq.batch.summary import VariantRow, from_report
from tflq.errors import RecipeError

REPORT = "report.json"


@dataclass(frozen=True)
class OutputFolder:
    """The .tflite files of a folder by name, and what its report says."""

    path: Path
    files: Mapping[str, Path]
    """Name of the variant → file; without a report, name of the file → file."""
    rows: Mapping[str, VariantRow]
    """Name of the variant → its row of the report, also without a file."""
    recipe: Mapping[str, Any]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class SettingChange:
    """A key of the recipe or a version of a package that differs; empty if one side does not have it."""

    name: str
    before: str
    after: str


def read_folder(path: Path) -> OutputFolder:
    """Return the files of the folder. RecipeError if it holds no .tflite file, or a report of another version."""
    cache.clear_workspaces(path)
    report = path / REPORT
    found = sorted(path.glob("*.tflite"))
    if not found:
        raise RecipeError(f"{path}: there is no .tflite file in this folder: give an output folder of tflq convert")
    if not report.is_file():
        return OutputFolder(path, {file.stem: file for file in found}, {}, {}, {})
    try:
        plain = json.loads(report.read_bytes())
        rows = {row.name: row for row in from_report(plain["name"], "made", "", path).rows}
        files = {variant["name"]: path / variant["file"] for variant in plain["variants"] if variant["file"]}
        return OutputFolder(path, files, rows, plain["recipe"], plain["environment"])
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{report}: this is not a report of this version of tflq: convert again") from error


def setting_changes(before: OutputFolder, after: OutputFolder) -> Iterator[SettingChange]:
    """Yield the keys of the recipes and the versions of packages that differ, if both folders have a report."""
    if not (before.rows and after.rows):
        return
    ours, theirs = (
        {**dict(_leaves(folder.recipe, "")), **{f"version of {k}": v for k, v in folder.environment.items()}}
        for folder in (before, after)
    )
    for name in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(name, ""), theirs.get(name, "")
        if one != other:
            yield SettingChange(name, one, other)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every key of the recipe with its value. Variants have their name in the place of a number."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}.{item.get('name', number)}")
    else:
        yield path, json.dumps(value, ensure_ascii=False)
