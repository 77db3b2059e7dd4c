"""Apply `KEY=VALUE` assignments of the command line to a YAML source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tflq.errors import RecipeError
from tflq.strict.reader import parse
from tflq.strict.source import Location, YamlSource
from tflq.strict.words import shown


def override(source: YamlSource, assignments: Iterable[str]) -> None:
    """Apply `key.subkey=value` assignments. Values are read as YAML, and later messages name the assignment.

    Raise RecipeError if an assignment has another form or names a key that cannot be set.
    """
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not all(dotted.split(".")):
            raise RecipeError(f"--set {assignment}: should have the form KEY=VALUE, such as calibration.samples=50")
        value = parse(text, f"--set {assignment}", has_lines=False)
        location = _assign(source, dotted.split("."), value)
        source.errors += value.errors
        for below in [place for place in source.places if place[: len(location)] == location]:
            del source.places[below]
        for depth in range(1, len(location)):
            source.places.setdefault(location[:depth], value.name)
        source.places |= {(*location, *inner): value.name for inner in value.places or {(): ""}}


def _assign(source: YamlSource, keys: list[str], value: YamlSource) -> Location:
    """Set the value at those keys. Create the mappings that do not exist yet. Return the location of the value."""
    target, location = source.data, ()  # type: Any, Location
    for key in keys:
        if isinstance(target, list) and key.isdecimal() and int(key) < len(target):
            location = (*location, int(key))
        elif isinstance(target, dict):
            location = (*location, key)
        else:
            raise RecipeError(f"{value.name}: {_cannot_set(source, location, target, key)}")
        step = location[-1]
        if len(location) == len(keys):
            target[step] = value.data
        elif isinstance(target, dict) and target.get(key) is None:
            target[step] = {}
        target = target[step]
    return location


def _cannot_set(source: YamlSource, location: Location, target: Any, key: str) -> str:
    where = f"{'.'.join(map(str, location))} of {source.name}" if location else source.name
    if isinstance(target, list):
        return f"{where} is a list with {len(target)} entries, counted from 0, and has no entry {key!r}"
    return f"{where} is {shown(target)}, not a mapping, so it cannot have the key {key!r}"
