"""`kind: zoo`: many models with shared keys. Also finds the recipes in files, folders and zoos."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tflq import overlay, sources, strict
from tflq.errors import RecipeError
from tflq.recipe import Recipe, compose
from tflq.strict import AsTuple, PlacedText, RecipePath, Strict, YamlSource, shown

RECIPE_SUFFIXES = (".yaml", ".yml")
FOLDER = Path("build")


def _entry(value: Any) -> Any:
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, dict):
        raise ValueError(f"should be a path, a pattern, or a mapping with the key model or recipe, not {shown(value)}")
    return value


Entry = Annotated[str | dict[str, Any], BeforeValidator(_entry)]


class Zoo(Strict):
    """Many models. Each has a recipe of its own, and the keys that they share are given once."""

    kind: Literal["zoo"] = Field(description="Distinguishes a zoo from a recipe.")
    extends: RecipePath | None = Field(None, description="A zoo file. Its keys apply unless this file gives them.")
    defaults: dict[str, Any] = Field({}, description="Keys of a recipe that apply to every model.")
    models: Annotated[tuple[Entry, ...], AsTuple, Field(min_length=1)] = Field(
        description="Paths or patterns of models and recipe files, or mappings with `model` or `recipe` and the keys"
        " that differ from the defaults. A path that has an entry of its own is skipped in patterns."
    )
    output: RecipePath = Field(
        FOLDER, validate_default=True, description="Folder of the summary, and of one sub-folder per model."
    )


@dataclass(frozen=True)
class Item:
    """A model of a batch: the recipe that makes it, or what is wrong with that."""

    name: str
    recipe: Recipe | RecipeError
    files: tuple[Path, ...]
    """The YAML files that say so."""


@dataclass(frozen=True)
class Batch:
    items: tuple[Item, ...]
    output: Path
    """Where the summary is put."""


def collect(paths: Sequence[Path], overrides: Sequence[str] = ()) -> Batch:
    """What zoo files, recipe files and folders of such hold; RecipeError where a zoo or a path itself is wrong.

    A recipe that is wrong is an item of the batch, and does not keep the others from being made.
    """
    parts = [_collect(path, overrides) for path in paths]
    items = tuple(_apart([item for part in parts for item in part.items]))
    if not items:
        raise RecipeError(f"{', '.join(map(str, paths))}: there is no recipe")
    outputs = [part.output for part in parts]
    common = outputs[0] if len(parts) == 1 else Path(os.path.commonpath([output.absolute() for output in outputs]))
    return Batch(items, common)


def _collect(path: Path, overrides: Sequence[str]) -> Batch:
    if path.is_dir():
        return Batch(tuple(_below(path, overrides)), path / FOLDER)
    if not path.exists():
        raise RecipeError(f"{path}: there is no such file or folder")
    try:
        source = overlay.read(path)
    except RecipeError as error:
        return Batch((Item(path.stem, error, (path,)),), path.parent / FOLDER)
    if isinstance(source.data, dict) and source.data.get("kind") == "zoo":
        return _expand(source, path.parent, overrides)
    try:
        strict.override(source, overrides)
        recipe = compose(source, path.stem, path.parent)
    except RecipeError as error:
        return Batch((Item(path.stem, error, source.files),), path.parent / FOLDER)
    return Batch((Item(recipe.name, recipe, source.files),), recipe.output)


def _below(folder: Path, overrides: Sequence[str]) -> Iterator[Item]:
    """Of each YAML file below the folder, but for hidden ones, those beside a report, and mere parts of others."""
    found = sorted(path for suffix in RECIPE_SUFFIXES for path in folder.rglob(f"*{suffix}") if path.is_file())
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    own = [path for path in shown if not (path.parent / "report.json").exists()]
    items = [item for path in own for item in _items(path, overrides)]
    parts = {base.resolve() for item in items for base in item.files[1:]}
    for item in items:
        if isinstance(item.recipe, Recipe) or item.files[0].resolve() not in parts:
            yield item


def _items(path: Path, overrides: Sequence[str]) -> tuple[Item, ...]:
    try:
        return _collect(path, overrides).items
    except RecipeError as error:
        return (Item(path.stem, error, (path,)),)


def _expand(source: YamlSource, folder: Path, overrides: Sequence[str]) -> Batch:
    """An item for every model of a zoo; RecipeError with all faults of the zoo's own keys."""
    zoo = strict.validate(source, Zoo, folder)
    overlay.placed(source, folder)
    source.faults.clear()
    found = list(_entries(source))
    plain = {path for path, is_plain, _ in found if is_plain}
    kept = [(path, entry) for path, is_plain, entry in found if is_plain or path not in plain]
    frame = _Frame(source, folder, zoo.output, tuple(overrides))
    return Batch(tuple(_model(frame, path, entry) for path, entry in kept), zoo.output)


@dataclass(frozen=True)
class _Frame:
    """What the models of one zoo have in common."""

    source: YamlSource
    folder: Path
    output: Path
    overrides: tuple[str, ...]


def _entries(source: YamlSource) -> Iterator[tuple[Path | None, bool, YamlSource]]:
    """The file or folder of each model, whether it is named plainly, and what is said of it alone."""
    faults = []
    for position in range(len(source.data["models"])):
        entry = overlay.part(source, ("models", position))
        try:
            yield from _matches(entry)
        except RecipeError as error:
            faults.append(str(error))
    if faults:
        raise RecipeError("\n".join(faults))


def _matches(entry: YamlSource) -> Iterator[tuple[Path | None, bool, YamlSource]]:
    if isinstance(entry.data, str):
        is_recipe = entry.data.endswith(RECIPE_SUFFIXES)
        entry = replace(entry, data={"recipe" if is_recipe else "model": entry.data})
    named = [key for key in ("recipe", "model") if key in entry.data]
    if len(named) != 1:
        raise RecipeError(entry.fault((), "give either model or recipe, with a path or a pattern"))
    key = named[0]
    pattern = _pattern(entry.data[key])
    if pattern is None:
        yield None, True, entry
        return
    paths = _paths(pattern, RECIPE_SUFFIXES if key == "recipe" else sources.KERAS_SUFFIXES, key == "model")
    if not paths:
        raise RecipeError(entry.fault((key,), f"{pattern}: no file matches this pattern"))
    for path in paths:
        yield path, not glob.has_magic(pattern), _about(entry, key, path)


def _pattern(value: Any) -> PlacedText | None:
    plain = sources.spelled_out(value)
    if not isinstance(plain, dict):
        return None
    return next((plain[kind] for kind in sources.KINDS if isinstance(plain.get(kind), PlacedText)), None)


def _paths(pattern: PlacedText, suffixes: tuple[str, ...], takes_folders: bool) -> list[Path]:
    """What the pattern matches; a plain path as it is, whether it exists or not, since its model has a row then too."""
    path = Path(pattern).expanduser()
    if not glob.has_magic(pattern):
        return [Path(os.path.normpath(pattern.folder / path))]
    folder = Path(path.anchor) if path.is_absolute() else pattern.folder
    found = sorted(folder.glob(str(path.relative_to(path.anchor))))
    able = [one for one in found if one.name.endswith(suffixes) or (takes_folders and one.is_dir())]
    return [Path(os.path.normpath(one)) for one in able if not one.name.startswith(".")]


def _about(entry: YamlSource, key: str, path: Path) -> YamlSource:
    """The entry with this one path in the place of its pattern."""
    named = PlacedText(str(path), Path())
    if key == "recipe":
        return replace(entry, data={**entry.data, "recipe": named})
    kind = "keras" if path.name.endswith(sources.KERAS_SUFFIXES) else "saved_model"
    given = sources.spelled_out(entry.data["model"])
    options = {name: value for name, value in given.items() if name not in sources.KINDS}
    return replace(entry, data={**entry.data, "model": {kind: named, **options}})


def _model(frame: _Frame, path: Path | None, entry: YamlSource) -> Item:
    """The recipe that defaults, the recipe file if there is one, and the entry make together."""
    name, files = _name(path, entry), frame.source.files
    try:
        laid = overlay.part(frame.source, ("defaults",))
        if "recipe" in entry.data and path:
            own = overlay.placed(overlay.read(path), path.parent)
            files = (*own.files, *files)
            laid = overlay.lay(laid, own)
        said = {key: value for key, value in entry.data.items() if key != "recipe"}
        laid = overlay.lay(laid, replace(entry, data=said))
        strict.override(laid, frame.overrides)
        name = str(laid.data.setdefault("name", name))
        laid.data.setdefault("output", PlacedText(str(frame.output / name), Path()))
        recipe = compose(laid, name, frame.folder)
    except RecipeError as error:
        return Item(name, error, files)
    return Item(name, recipe, files)


def _name(path: Path | None, entry: YamlSource) -> str:
    own = entry.data.get("name")
    if isinstance(own, str) or path is None:
        return str(own or "model")
    return path.stem if path.suffix in (*RECIPE_SUFFIXES, *sources.KERAS_SUFFIXES) else path.name


def _apart(items: Sequence[Item]) -> Iterator[Item]:
    """Each with a name and an output folder of its own; one that would replace another's files is refused."""
    shared = {name for name, count in Counter(item.name for item in items).items() if count > 1}
    taken: dict[Path, str] = {}
    seen: Counter[str] = Counter()
    for item in items:
        recipe, name = item.recipe, item.name
        if isinstance(recipe, Recipe):
            if name in shared:
                name = str(recipe.output)
            other = taken.setdefault(recipe.output.absolute(), name)
            if name in seen:
                said = f"{item.files[0]}: {item.name} writes into {recipe.output}, as {other} does"
                recipe = RecipeError(f"{said}: give it another name or output")
        seen[name] += 1
        yield replace(item, name=name if seen[name] == 1 else f"{name} ({seen[name]})", recipe=recipe)


def chosen(batch: Batch, patterns: Sequence[str]) -> Batch:
    """The models whose names match one of the patterns, or all where there are none."""
    for pattern in patterns:
        if not fnmatch.filter([item.name for item in batch.items], pattern):
            hint = strict.did_you_mean(pattern, [item.name for item in batch.items])
            raise RecipeError(f"--only {pattern}: no model has such a name{hint}")
    kept = [item for item in batch.items if not patterns or any(fnmatch.fnmatch(item.name, p) for p in patterns)]
    return replace(batch, items=tuple(kept))
