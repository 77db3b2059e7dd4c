"""Files laid over one another: what a recipe or a zoo extends, and what a zoo says for all models and for one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tflq import datasets, sources, strict
from tflq.errors import RecipeError
from tflq.strict import Location, PlacedText, YamlSource, shown

EITHER = {"mode": "variants", "variants": "mode"}
"""Two ways to say the same: one that is laid over the other takes its place."""
KINDS = (*datasets.KINDS, *sources.KINDS)


def read(path: Path) -> YamlSource:
    """The YAML file, laid over the one that it extends, and so on; RecipeError where one cannot be read at all.

    Each path is taken from the folder of the file that says it.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> YamlSource:
    source = strict.read(path)
    source.files = (path,)
    if not isinstance(source.data, dict) or "extends" not in source.data:
        return source
    named = source.data.pop("extends")
    if not isinstance(named, str) or not named:
        source.faults.append(source.fault(("extends",), f"should be the path of a file, not {shown(named)}"))
        return source
    base = Path(os.path.normpath(path.parent / named))
    if base.absolute() in [file.absolute() for file in (*above, path)]:
        raise RecipeError(source.fault(("extends",), f"{base} extends this file in turn"))
    if not base.is_file():
        raise RecipeError(source.fault(("extends",), f"{base}: there is no such file"))
    return lay(placed(_read(base, (*above, path)), base.parent), source)


def placed(source: YamlSource, folder: Path) -> YamlSource:
    """The source, its texts marked with the folder from which their paths are taken, if they have none yet."""
    source.data = _placed(source.data, folder)
    return source


def _placed(data: Any, folder: Path) -> Any:
    if isinstance(data, dict):
        return {key: _placed(value, folder) for key, value in data.items()}
    if isinstance(data, list):
        return [_placed(value, folder) for value in data]
    return PlacedText(data, folder) if isinstance(data, str) and not isinstance(data, PlacedText) else data


def lay(base: YamlSource, over: YamlSource) -> YamlSource:
    """What `over` says, and what `base` says besides.

    Mappings are laid key by key; anything else, and a dataset or model of another kind, takes the place of what was
    there, and a key of nothing (`evaluation: null`) takes that away.
    """
    for source in (base, over):
        if isinstance(source.data, dict) and "model" in source.data:
            source.data["model"] = sources.spelled_out(source.data["model"])
    laid = YamlSource(over.name, has_lines=over.has_lines, faults=[*base.faults, *over.faults])
    laid.files = tuple(dict.fromkeys((*over.files, *base.files)))
    laid.data = _lay(base.data, over.data)
    laid.places = {here: place for here, place in base.places.items() if here in _locations(laid.data)} | over.places
    return laid


def _lay(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict) or _are_of_two_kinds(base, over):
        return over
    kept = {key: value for key, value in base.items() if EITHER.get(key) not in over}
    below = {key: _lay(kept[key], value) if key in kept else value for key, value in over.items()}
    gone = [key for key, value in over.items() if value is None and key in base]
    return {key: value for key, value in {**kept, **below}.items() if key not in gone}


def _are_of_two_kinds(base: dict[str, Any], over: dict[str, Any]) -> bool:
    one, other = ([kind for kind in KINDS if kind in data] for data in (base, over))
    return bool(one and other and one != other)


def _locations(data: Any, here: Location = ()) -> set[Location]:
    return set(_walk(data, here))


def _walk(data: Any, here: Location) -> Iterator[Location]:
    yield here
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield from _walk(value, (*here, key))


def part(source: YamlSource, location: Location) -> YamlSource:
    """What stands there in the source, as a source of its own; an absent mapping is empty."""
    data: Any = source.data
    for step in location:
        data = data.get(step, {}) if isinstance(data, dict) else data[step]
    length = len(location)
    places = {here[length:]: place for here, place in source.places.items() if here[:length] == location}
    return YamlSource(source.name, data, source.has_lines, places, files=source.files)
