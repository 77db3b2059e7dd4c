"""Read YAML text as plain data, with the file and line of each part, and write YAML text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import Self

from tflq.errors import RecipeError
from tflq.strict.words import MISSING, shown

Location = tuple[str | int, ...]
TAG = "tag:yaml.org,2002:"
MAX_DEPTH = 50
"""The largest number of nesting levels. Only an alias that contains itself exceeds it."""

NUMBER = "[0-9]+(?:_[0-9]+)*"
SCALARS = (
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", f"[-+]?{NUMBER}|0x[0-9a-fA-F]+|0o[0-7]+", list("-+0123456789")),
    (
        "float",
        rf"[-+]?(?:{NUMBER}(?:\.(?:{NUMBER})?)?|\.{NUMBER})(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
)
"""The scalars of the YAML 1.2 core schema, with `_` between digits: tag, pattern, first characters."""

REMEDIES = {
    "mapping values are not allowed": "check the indentation, and put text with a colon and a space in quotes",
    r"character '\t'": "indent with spaces, not tabs",
    "expected alphabetic or numeric": "put text that begins with * or & in quotes",
    "undefined alias": "put text that begins with * in quotes",
    "found another document": "only one is read: remove the --- line",
    "end of stream": "a quote is not closed",
    "but got ':'": "check that brackets are closed, and put text with a colon and a space in quotes",
    "'<stream end>'": "a bracket is not closed",
}
"""Part of a message of PyYAML → what the user can do."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: `on`, `off` and `12:30` are text, `1e-4` is a number, dates are text."""


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as another type."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _integer(_: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value, {"0x": 16, "0o": 8}.get(node.value[:2], 10))


def _float(_: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(?=[in])", "", node.value.lower()))


def _text(_: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(node.value)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in SCALARS:
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(TAG + _tag, re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor(TAG + "int", _integer)
_Loader.add_constructor(TAG + "float", _float)
_Loader.add_constructor(TAG + "merge", _text)


class PlacedText(str):
    """Text with the folder of its file. If the text is a path, it is relative to that folder."""

    folder: Path

    def __new__(cls, text: str, folder: Path) -> Self:
        placed = super().__new__(cls, text)
        placed.folder = folder
        return placed


@dataclass
class YamlSource:
    """A YAML text as plain data, with the place (`file:line`) of each part, and the errors found while reading."""

    name: str
    data: Any = None
    has_lines: bool = True
    """Whether places have a line number."""
    places: dict[Location, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    files: tuple[Path, ...] = ()
    """The files from which the text was read."""

    def place(self, mark: yaml.Mark | None) -> str:
        return f"{self.name}:{mark.line + 1}" if self.has_lines and mark else self.name

    def error(self, location: Location, message: str) -> str:
        """Return `file:line: key: message`. Parts of the location that the file does not have are left out."""
        present: Location = ()
        for part in location:
            present = (*present, part) if (*present, part) in self.places else present
        shown_location = (*present, location[-1]) if message == MISSING else present
        key = ".".join(map(str, shown_location))
        return f"{self.places.get(present, self.name)}: {key + ': ' if key else ''}{message}"


def read(path: Path) -> YamlSource:
    """Read the YAML file. Raise RecipeError if it cannot be read."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from error


def parse(text: str, name: str, has_lines: bool = True) -> YamlSource:
    """Parse the YAML text. Messages call it by `name`. Raise RecipeError if it is not YAML."""
    source = YamlSource(name, has_lines=has_lines)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        source.data = _Reader(loader, source).plain(root, ()) if root else None
    except yaml.MarkedYAMLError as error:
        raise RecipeError(_yaml_error(source, error)) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{name}: this is not YAML: {error}") from error
    except RecursionError as error:
        raise RecipeError(f"{name}: this is nested too deeply") from error
    return source


def _yaml_error(source: YamlSource, error: yaml.MarkedYAMLError) -> str:
    problem, mark, opened = str(error.problem), error.problem_mark, error.context_mark
    since = (
        f", in the part that starts on line {opened.line + 1}" if opened and mark and opened.line != mark.line else ""
    )
    remedy = next((f"; {remedy}" for part, remedy in REMEDIES.items() if part in problem), "")
    return f"{source.place(mark)}: this is not YAML: {problem.removeprefix('but ')}{since}{remedy}"


class _Reader:
    """Turns the nodes of one YAML text into plain data. Records their places and errors in the source."""

    def __init__(self, loader: _Loader, source: YamlSource) -> None:
        self.loader, self.source = loader, source
        self.flat: set[int] = set()
        """The ids of mappings whose merge keys are resolved. An alias leads to the same mapping again."""

    def plain(self, node: yaml.Node, here: Location) -> Any:
        place = self.source.place(node.start_mark)
        self.source.places.setdefault(here, place)
        if len(here) > MAX_DEPTH:
            raise RecipeError(f"{place}: this is nested too deeply: an alias (*) contains itself")
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(child, (*here, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return dict(self._entries(node, here))
        return self._scalar(node, place)

    def _scalar(self, node: yaml.Node, place: str) -> Any:
        resolved = self.loader.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        if node.tag not in (TAG + "str", resolved):
            raise RecipeError(f"{place}: {node.value!r} has the tag {node.tag.replace(TAG, '!!')}: remove the tag")
        return self.loader.construct_object(node)

    def _entries(self, node: yaml.MappingNode, here: Location) -> Iterator[tuple[str, Any]]:
        if id(node) not in self.flat:
            self.flat.add(id(node))
            self.source.errors += self._duplicates(node, here)
            self.loader.flatten_mapping(node)
        for key_node, value_node in node.value:
            place = self.source.place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self.source.errors.append(f"{place}: a key should be plain text, without brackets")
                continue
            self.source.places[(*here, key_node.value)] = place
            yield key_node.value, self.plain(value_node, (*here, key_node.value))

    def _duplicates(self, node: yaml.MappingNode, here: Location) -> Iterator[str]:
        keys: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                name = ".".join(map(str, (*here, key.value)))
                yield f"{self.source.place(key.start_mark)}: {name}: this key is given twice"
            keys.add(key.value)


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


def write(data: Any) -> str:
    """Return the data as YAML text. Reading it gives the same data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
