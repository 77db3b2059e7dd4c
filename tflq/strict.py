"""YAML to a strict, frozen pydantic model; every fault at once, as `file:line: key: message`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainSerializer,
    SerializationInfo,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from typing_extensions import Self

from tflq.errors import RecipeError

Location = tuple[str | int, ...]
MISSING = "this key is missing"


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and coerces nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="wrap")
    @classmethod
    def _suggest_keys(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            faults = [_in_words(fault, cls.model_fields) for fault in error.errors()]
            raise ValidationError.from_exception_data(cls.__name__, faults) from None


def _in_words(fault: Any, keys: Iterable[str]) -> InitErrorDetails:
    text = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
        text = f"unknown key{did_you_mean(str(fault['loc'][0]), keys)}"
    elif fault["type"] == "missing":
        text = MISSING
    elif fault["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        text = f"{fault['input']!r} is not one of {', '.join(choices)}{did_you_mean(str(fault['input']), choices)}"
    elif text.startswith("Input should be"):
        text = f"{_shown(fault['input'])}: {_plainer(text)}"
    return InitErrorDetails(
        type=PydanticCustomError("fault", "{text}", {"text": text}), loc=fault["loc"], input=fault["input"]
    )


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value) if len(repr(value)) < 60 else f"this {type(value).__name__}"


def _plainer(text: str) -> str:
    words = {"Input should": "this should", "a valid ": "a ", "a integer": "an integer", "a tuple": "a list"}
    for said, plain in words.items():
        text = text.replace(said, plain)
    return text


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of the words, or nothing."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _from_folder(value: Any, info: ValidationInfo) -> Any:
    folder = (info.context or {}).get("folder")
    if isinstance(value, str) and not value:
        raise ValueError("this path is empty")
    if isinstance(value, (str, Path)) and folder is not None:
        return Path(os.path.normpath(Path(folder) / Path(value).expanduser()))
    return Path(value) if isinstance(value, str) else value


def _to_folder(path: Path, info: SerializationInfo) -> str:
    folder = (info.context or {}).get("folder")
    return os.path.relpath(path, folder) if folder else str(path)


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


T = TypeVar("T")
RecipePath = Annotated[Path, BeforeValidator(_from_folder), PlainSerializer(_to_folder)]
"""A path, taken from the folder of the file that names it, and written as seen from the folder of the context."""
AsTuple = BeforeValidator(_to_tuple)
"""Marks a tuple field, which YAML writes as a list."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: `on`, `off` and `12:30` are text, `1e-4` is a number, dates are text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(re.sub(r"\.(?=inf|nan)", "", node.value.replace("_", "")))
)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value, 16 if "x" in node.value else 10))


@dataclass
class Source:
    """A YAML text as plain data, with the place (`file:line`) of each part of it, and its faults of form."""

    name: str
    data: Any = None
    places: dict[Location, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def fault(self, location: Location, message: str) -> str:
        """`file:line: key: message`; parts of the location that the file does not have are left out."""
        known: Location = ()
        for part in location:
            known = (*known, part) if (*known, part) in self.places else known
        named = (*known, location[-1]) if message == MISSING else known
        key = ".".join(map(str, named))
        return f"{self.places.get(known, self.name)}: {key + ': ' if key else ''}{message}"


def read(path: Path) -> Source:
    """The YAML file; RecipeError where it cannot be read at all."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from error


def parse(text: str, name: str) -> Source:
    """The YAML text, called by that name in messages; RecipeError where it is not YAML."""
    source = Source(name)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        source.data = None if root is None else _plain(root, loader, source, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{name}:{line}: this is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{name}: this is not YAML: {error}") from error
    except RecursionError as error:
        raise RecipeError(f"{name}: this is nested too deeply, or an alias contains itself") from error
    return source


def _plain(node: yaml.Node, loader: _Loader, source: Source, here: Location) -> Any:
    source.places.setdefault(here, _place(source, node))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, loader, source, (*here, i)) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return dict(_entries(node, loader, source, here))
    return loader.construct_object(node)  # type: ignore[no-untyped-call]


def _place(source: Source, node: yaml.Node) -> str:
    return f"{source.name}:{node.start_mark.line + 1}"


def _entries(node: yaml.MappingNode, loader: _Loader, source: Source, here: Location) -> Iterator[tuple[str, Any]]:
    source.faults += _twice(node, source, here)
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            source.faults.append(f"{_place(source, key_node)}: a key must be plain text")
            continue
        source.places[(*here, key_node.value)] = _place(source, key_node)
        yield key_node.value, _plain(value_node, loader, source, (*here, key_node.value))


def _twice(node: yaml.MappingNode, source: Source, here: Location) -> Iterator[str]:
    keys: set[str] = set()
    for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
        if key.value in keys:
            yield f"{_place(source, key)}: {'.'.join(map(str, (*here, key.value)))}: this key is given twice"
        keys.add(key.value)


def override(source: Source, assignments: Iterable[str]) -> None:
    """Apply `key.subkey=value` assignments, each value read as YAML; later messages name the assignment."""
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted:
            raise RecipeError(f"--set {assignment}: should read KEY=VALUE, such as calibration.samples=50")
        value = parse(text, f"--set {assignment}")
        location = _assign(source, dotted, value.data)
        source.faults += value.faults
        for below in [place for place in source.places if place[: len(location)] == location]:
            del source.places[below]
        for depth in range(1, len(location)):
            source.places.setdefault(location[:depth], value.name)
        source.places |= {(*location, *inner): value.name for inner in value.places or {(): ""}}


def _assign(source: Source, dotted: str, value: Any) -> Location:
    target, location = source.data, ()  # type: Any, Location
    *parents, last = dotted.split(".")
    for key in parents:
        location = (*location, int(key) if isinstance(target, list) and key.isdigit() else key)
        target = _child(target, location[-1], f"--set {dotted}: {source.name} has no list or mapping at '{key}'")
    index = int(last) if isinstance(target, list) and last.isdigit() else last
    if not isinstance(target, dict) and not (isinstance(target, list) and index in range(len(target))):
        raise RecipeError(f"--set {dotted}: {source.name} has no list or mapping that holds '{last}'")
    target[index] = value
    return (*location, index)


def _child(target: Any, key: str | int, message: str) -> Any:
    if isinstance(target, dict):
        return target.setdefault(key, {})
    if isinstance(target, list) and key in range(len(target)):
        return target[int(key)]
    raise RecipeError(message)


M = TypeVar("M", bound=Strict)


def validate(source: Source, model: type[M], folder: Path) -> M:
    """The model that the source describes, its paths taken from the folder; RecipeError with every fault."""
    faults = list(source.faults)
    if not isinstance(source.data, dict):
        raise RecipeError("\n".join([*faults, f"{source.name}: this should be a mapping of keys to values"]))
    try:
        value = model.model_validate(source.data, context={"folder": folder})
    except ValidationError as error:
        faults += [source.fault(tuple(fault["loc"]), fault["msg"]) for fault in error.errors()]
    if faults:
        raise RecipeError("\n".join(sorted(dict.fromkeys(faults), key=_line)))
    return value


def _line(fault: str) -> int:
    found = re.search(r":(\d+): ", fault)
    return int(found.group(1)) if found else 0
