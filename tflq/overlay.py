"""Lay YAML files over one another: `extends` of a recipe or a zoo, and the defaults and models of a zoo."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tflq import datasets, strict
from tflq.errors import RecipeError
from tflq.sources.saved_model import GRAPH_FILES
from tflq.sources.schema import FILE_SUFFIXES, spelled_out
from tflq.sources.schema import KINDS as SOURCE_KINDS
from tflq.strict import Location, PlacedText, YamlSource, path_in, shown

ALTERNATIVES = {"mode": "variants", "variants": "mode"}
"""Two keys with the same meaning. Either key replaces the other key of the base."""
KINDS = (*datasets.KINDS, *SOURCE_KINDS)


def read(path: Path) -> YamlSource:
    """Read the YAML file and lay it over the file that it extends, which may extend another file.

    Each path is relative to the folder of the file that gives it. Raise RecipeError if a file cannot be read.
    """
    _refuse_models(path)
    return _read(path, ())


def _refuse_models(path: Path) -> None:
    """Raise RecipeError if the path is a model or a folder, and say which command takes it."""
    if path.is_dir() and not any((path / name).is_file() for name in GRAPH_FILES):
        if (path / "recipe.yaml").is_file():
            raise RecipeError(f"{path}: this is a folder, not a recipe; it contains {path / 'recipe.yaml'}")
        raise RecipeError(f"{path}: this is a folder, not a recipe; `tflq batch {path}` converts all recipes in it")
    if path.is_dir() or (path.name.endswith(FILE_SUFFIXES) and path.is_file()):
        begin = f"tflq init {shlex.quote(str(path))} -o {shlex.quote(path.stem)}.yaml"
        inspect = f"; look into it with: tflq inspect {path}" if path.suffix == ".tflite" else ""
        raise RecipeError(f"{path}: this is a model, not a recipe; write a recipe for it with: {begin}{inspect}")


def _refuse_own_files(path: Path, source: YamlSource) -> None:
    """Raise RecipeError if the file is a report or a lock, and say where the recipe of its run is."""
    if isinstance(source.data, dict) and "schema_version" in source.data:
        recipe = path.parent / "recipe.yaml"
        hint = f"; the recipe of that run is {recipe}" if recipe.is_file() else ""
        raise RecipeError(f"{path}: tflq wrote this file, and it is not a recipe{hint}")


def _read(path: Path, above: tuple[Path, ...]) -> YamlSource:
    source = strict.read(path)
    source.files = (path,)
    _refuse_own_files(path, source)
    if not isinstance(source.data, dict) or "extends" not in source.data:
        return source
    name = source.data.pop("extends")
    if not isinstance(name, str) or not name:
        source.errors.append(source.error(("extends",), f"should be the path of a file, not {shown(name)}"))
        return source
    try:
        base = path_in(path.parent, name)
    except ValueError as error:
        raise RecipeError(source.error(("extends",), str(error))) from None
    if base.absolute() in [file.absolute() for file in (*above, path)]:
        raise RecipeError(source.error(("extends",), f"{base} also extends this file: remove one of the two extends"))
    if not base.is_file():
        raise RecipeError(source.error(("extends",), f"{base}: there is no such file"))
    try:
        below = _read(base, (*above, path))
    except RecipeError as error:
        if re.match(r".*:\d+: ", str(error)):  # the message says where in a file
            raise
        raise RecipeError(source.error(("extends",), str(error))) from None
    return lay(placed(below, base.parent), source)


def placed(source: YamlSource, folder: Path) -> YamlSource:
    """Mark each text of the source with the folder that its paths are relative to, unless it is marked already."""
    source.data = _placed(source.data, folder)
    return source


def _placed(data: Any, folder: Path) -> Any:
    if isinstance(data, dict):
        return {key: _placed(value, folder) for key, value in data.items()}
    if isinstance(data, list):
        return [_placed(value, folder) for value in data]
    return PlacedText(data, folder) if isinstance(data, str) and not isinstance(data, PlacedText) else data


def lay(base: YamlSource, over: YamlSource) -> YamlSource:
    """Return `base` with the keys of `over` in place of its own.

    Mappings are merged key by key. Any other value replaces that of the base, and so does a dataset or model of another
    kind. A null (`evaluation: null`) removes the key of the base.
    """
    for source in (base, over):
        if isinstance(source.data, dict) and "model" in source.data:
            source.data["model"] = spelled_out(source.data["model"])
    laid = YamlSource(over.name, has_lines=over.has_lines, errors=[*base.errors, *over.errors])
    laid.files = tuple(dict.fromkeys((*over.files, *base.files)))
    laid.data = _lay(base.data, over.data)
    locations = _locations(laid.data)
    laid.places = {here: place for here, place in base.places.items() if here in locations} | over.places
    return laid


def _lay(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict) or _differ_in_kind(base, over):
        return over
    inherited = {key: value for key, value in base.items() if ALTERNATIVES.get(key) not in over}
    merged = {key: _lay(inherited[key], value) if key in inherited else value for key, value in over.items()}
    removed = [key for key, value in over.items() if value is None and key in base]
    return {key: value for key, value in {**inherited, **merged}.items() if key not in removed}


def _differ_in_kind(base: dict[str, Any], over: dict[str, Any]) -> bool:
    base_kinds, over_kinds = ([kind for kind in KINDS if kind in data] for data in (base, over))
    return bool(base_kinds and over_kinds and base_kinds != over_kinds)


def _locations(data: Any, here: Location = ()) -> set[Location]:
    return set(_walk(data, here))


def _walk(data: Any, here: Location) -> Iterator[Location]:
    yield here
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield from _walk(value, (*here, key))


def part(source: YamlSource, location: Location) -> YamlSource:
    """Return the part of the source at that location as a source. An absent part is an empty mapping."""
    data: Any = source.data
    for step in location:
        data = data.get(step, {}) if isinstance(data, dict) else data[step]
    length = len(location)
    places = {here[length:]: place for here, place in source.places.items() if here[:length] == location}
    return YamlSource(source.name, data, source.has_lines, places, files=source.files)


def parts(source: YamlSource, key: str) -> list[YamlSource]:
    """Return the parts of the list under that key as sources."""
    places: list[dict[Location, str]] = [{} for _ in source.data[key]]
    for here, place in source.places.items():
        if len(here) > 1 and here[0] == key and isinstance(here[1], int):
            places[here[1]][here[2:]] = place
    return [
        YamlSource(source.name, data, source.has_lines, inner, files=source.files)
        for data, inner in zip(source.data[key], places, strict=True)
    ]
