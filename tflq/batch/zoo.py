"""Zoos: files with `kind: zoo`, which list many models with shared keys. A batch is collected from such files here."""

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

from tflq import overlay, strict
from tflq.errors import RecipeError
from tflq.recipe import Recipe, compose
from tflq.recipe_files import code_sections
from tflq.sources.schema import FILE_SUFFIXES, KINDS, kind_of, spelled_out
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
    """A model of a batch: its recipe, or the error of the recipe."""

    name: str
    recipe: Recipe | RecipeError
    files: tuple[Path, ...]
    """The YAML files of the recipe."""
    source: YamlSource | None = None
    """The recipe as data, with the place of each key; None if the recipe is wrong."""

    def place(self, *keys: str) -> str:
        """Return the place of the first of these keys that the recipe has, or else its file."""
        places = self.source.places if self.source else {}
        given = (places.get(tuple(key.split("."))) for key in keys)
        return next((place for place in given if place), str(self.files[0]))


@dataclass(frozen=True)
class Batch:
    """The models to convert, and the output folder."""

    items: tuple[Item, ...]
    output: Path
    """The folder of the summary."""


def collect(paths: Sequence[Path], overrides: Sequence[str] = ()) -> Batch:
    """Read the models of zoo files, recipe files and folders of such files.

    Raise RecipeError if a path does not exist or a zoo is wrong. A wrong recipe is an item of the batch, so that the
    others can still be converted.
    """
    parts = [_collect(path, overrides) for path in paths]
    items = tuple(_with_unique_names([item for part in parts for item in part.items]))
    if not items:
        raise RecipeError(f"{', '.join(map(str, paths))}: no recipe was found")
    outputs = [part.output for part in parts]
    common = outputs[0] if len(parts) == 1 else Path(os.path.commonpath([output.absolute() for output in outputs]))
    return Batch(items, common)


def _collect(path: Path, overrides: Sequence[str]) -> Batch:
    if path.is_dir():
        return Batch(tuple(_below(path, overrides)), path / FOLDER)
    if not path.exists():
        raise RecipeError(f"{path}: this file or folder does not exist")
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
    return Batch((Item(recipe.name, recipe, source.files, overlay.placed(source, path.parent)),), recipe.output)


def _below(folder: Path, overrides: Sequence[str]) -> Iterator[Item]:
    """Yield the items of all YAML files below the folder.

    Hidden files are left out, files beside a report, and incomplete recipes that another file extends.
    """
    paths = sorted(path for suffix in RECIPE_SUFFIXES for path in folder.rglob(f"*{suffix}") if path.is_file())
    visible = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    sources = [path for path in visible if not (path.parent / "report.json").exists()]
    items = [item for path in sources for item in _items(path, overrides)]
    bases = {base.resolve() for item in items for base in item.files[1:]}
    for item in items:
        if isinstance(item.recipe, Recipe) or item.files[0].resolve() not in bases:
            yield item


def _items(path: Path, overrides: Sequence[str]) -> tuple[Item, ...]:
    try:
        return _collect(path, overrides).items
    except RecipeError as error:
        return (Item(path.stem, error, (path,)),)


def _expand(source: YamlSource, folder: Path, overrides: Sequence[str]) -> Batch:
    """Return an item for every model of a zoo. Raise RecipeError with all errors in the zoo's own keys."""
    zoo = strict.validate(source, Zoo, folder)
    overlay.placed(source, folder)
    source.errors.clear()
    entries = list(_entries(source))
    plain_paths = {path for path, is_plain, _ in entries if is_plain}
    selected = [(path, entry) for path, is_plain, entry in entries if is_plain or path not in plain_paths]
    defaults = overlay.part(source, ("defaults",))
    context = _ZooContext(source.files, defaults, folder, zoo.output, tuple(overrides))
    return Batch(tuple(_item(context, path, entry) for path, entry in selected), zoo.output)


@dataclass(frozen=True)
class _ZooContext:
    """The values that all models of one zoo share."""

    files: tuple[Path, ...]
    defaults: YamlSource
    folder: Path
    output: Path
    overrides: tuple[str, ...]


def _entries(source: YamlSource) -> Iterator[tuple[Path | None, bool, YamlSource]]:
    """Yield the path of each model, whether the path is given without a pattern, and the entry of the model."""
    errors = []
    for entry in overlay.parts(source, "models"):
        try:
            yield from _matches(entry)
        except RecipeError as error:
            errors.append(str(error))
    if errors:
        raise RecipeError("\n".join(errors))


def _matches(entry: YamlSource) -> Iterator[tuple[Path | None, bool, YamlSource]]:
    if isinstance(entry.data, str):
        is_recipe = entry.data.endswith(RECIPE_SUFFIXES)
        entry = replace(entry, data={"recipe" if is_recipe else "model": entry.data})
    if ("recipe" in entry.data) == ("model" in entry.data):
        raise RecipeError(entry.error((), "give either model or recipe, with a path or a pattern"))
    key = "recipe" if "recipe" in entry.data else "model"
    pattern = _pattern(entry.data[key])
    if pattern is None:
        yield None, True, entry
        return
    try:
        strict.path_in(pattern.folder, pattern)
    except ValueError as error:
        raise RecipeError(entry.error((key,), str(error))) from None
    paths = _paths(pattern, RECIPE_SUFFIXES if key == "recipe" else FILE_SUFFIXES, key == "model")
    if not paths:
        raise RecipeError(entry.error((key,), f"{pattern}: no file matches this pattern"))
    for path in paths:
        yield path, not glob.has_magic(pattern), _with_path(entry, key, path)


def _pattern(value: Any) -> PlacedText | None:
    plain = spelled_out(value)
    if not isinstance(plain, dict):
        return None
    return next((plain[kind] for kind in KINDS if isinstance(plain.get(kind), PlacedText)), None)


def _paths(pattern: PlacedText, suffixes: tuple[str, ...], takes_folders: bool) -> list[Path]:
    """Return the paths that match. A path without a pattern is returned even if it does not exist.

    So its model still has a row in the summary.
    """
    path = Path(pattern).expanduser()
    if not glob.has_magic(pattern):
        return [Path(os.path.normpath(pattern.folder / path))]
    folder = Path(path.anchor) if path.is_absolute() else pattern.folder
    matches = sorted(folder.glob(str(path.relative_to(path.anchor))))
    models = [match for match in matches if match.name.endswith(suffixes) or (takes_folders and match.is_dir())]
    return [Path(os.path.normpath(model)) for model in models if not model.name.startswith(".")]


def _with_path(entry: YamlSource, key: str, path: Path) -> YamlSource:
    """Return the entry with this path in place of its pattern."""
    text = PlacedText(str(path), Path())
    if key == "recipe":
        return replace(entry, data={**entry.data, "recipe": text})
    kind = kind_of(path.name)
    model = spelled_out(entry.data["model"])
    options = {name: value for name, value in model.items() if name not in KINDS}
    return replace(entry, data={**entry.data, "model": {kind: text, **options}})


def _item(context: _ZooContext, path: Path | None, entry: YamlSource) -> Item:
    """Lay the recipe file, if there is one, over the defaults, then the entry, then the overrides."""
    name, files, merged = _name(path, entry), context.files, context.defaults
    try:
        if "recipe" in entry.data and path:
            recipe_file = overlay.placed(_recipe_file(entry, path), path.parent)
            files = (*recipe_file.files, *files)
            merged = overlay.lay(merged, recipe_file)
        entry_keys = {key: value for key, value in entry.data.items() if key != "recipe"}
        merged = overlay.lay(merged, replace(entry, data=entry_keys))
        strict.override(merged, context.overrides)
        name = str(merged.data.setdefault("name", name))
        merged.data.setdefault("output", PlacedText(str(context.output / name), Path()))
        recipe = compose(merged, name, context.folder)
    except RecipeError as error:
        return Item(name, error, files)
    return Item(name, recipe, files, overlay.placed(merged, context.folder))


def _recipe_file(entry: YamlSource, path: Path) -> YamlSource:
    if not path.is_file():
        raise RecipeError(entry.error(("recipe",), f"{path}: there is no such file"))
    return overlay.read(path)


def _name(path: Path | None, entry: YamlSource) -> str:
    given = entry.data.get("name")
    if isinstance(given, str) or path is None:
        return str(given or "model")
    return path.stem if path.suffix in (*RECIPE_SUFFIXES, *FILE_SUFFIXES) else path.name


def _with_unique_names(items: Sequence[Item]) -> Iterator[Item]:
    """Give each item a name of its own. An item that would replace the files of another becomes an error."""
    shared_names = {name for name, count in Counter(item.name for item in items).items() if count > 1}
    owners: dict[Path, str] = {}
    uses: Counter[str] = Counter()
    for item in items:
        recipe, name = item.recipe, item.name
        if isinstance(recipe, Recipe):
            if name in shared_names:
                name = str(recipe.output)
            other = owners.setdefault(recipe.output.absolute(), name)
            if other != name or name in uses:
                place = item.place("output", "name", "model")
                text = f"{place}: the output folder {recipe.output} of {item.name} is also that of {other}"
                recipe = RecipeError(f"{text}: give it another name or output")
        uses[name] += 1
        yield replace(item, name=name if uses[name] == 1 else f"{name} ({uses[name]})", recipe=recipe)


def without_code(batch: Batch) -> Batch:
    """Return the batch with an error in place of each recipe that names Python functions."""
    return replace(batch, items=tuple(_without_code(item) for item in batch.items))


def _without_code(item: Item) -> Item:
    sections = code_sections(item.recipe) if isinstance(item.recipe, Recipe) else []
    if not sections:
        return item
    reason = f"{', '.join(sections)} would run Python code, and --no-code was given"
    return replace(item, recipe=RecipeError(f"{item.place(*sections)}: {reason}"))


def select(batch: Batch, patterns: Sequence[str]) -> Batch:
    """Return the models whose names match one of the patterns, or all models if there is no pattern.

    Raise RecipeError if a pattern matches no name.
    """
    for pattern in patterns:
        if not fnmatch.filter([item.name for item in batch.items], pattern):
            hint = strict.did_you_mean(pattern, [item.name for item in batch.items])
            raise RecipeError(f"--only {pattern}: no model has this name{hint}")
    matches = [item for item in batch.items if not patterns or any(fnmatch.fnmatch(item.name, p) for p in patterns)]
    return replace(batch, items=tuple(matches))
