"""Change the configuration of a Keras file before Keras loads it: float32 for half precision, and known sizes."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HALF = frozenset(("mixed_float16", "mixed_bfloat16", "float16", "bfloat16"))
"""The policies and dtypes of Keras with half precision."""
POLICIES = ("DTypePolicy", "Policy")
ARCHIVED = "config.json"

Shape = tuple[int | None, ...]


def adapted(path: Path, folder: Path, shapes: Mapping[str, Shape]) -> tuple[Path, frozenset[str]]:
    """Return a copy of the Keras file in float32, with these shapes of inputs, and its policies of half precision.

    Return the file itself if nothing is to be changed. The folder is for the copy. ValueError, KeyError or OSError if
    the configuration cannot be read.
    """
    is_archive = zipfile.is_zipfile(path)
    config = _archived(path) if is_archive else _stored(path)
    policies = frozenset(_to_float32(config))
    if not [*_set_shapes(config, shapes)] and not policies:
        return path, policies
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / path.name
    (_write_archive if is_archive else _write_stored)(path, copy, config)
    return copy, policies


def input_shapes(path: Path) -> dict[str, Shape]:
    """Return the shapes of the input layers of a `.keras` archive by name. Open sizes are None."""
    config = _archived(path) if zipfile.is_zipfile(path) else {}
    layers = {str(layer["config"].get("name")): _shape(layer["config"]) for layer in _input_layers(config)}
    return {name: shape for name, shape in layers.items() if shape is not None}


def _archived(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(ARCHIVED))


def _stored(path: Path) -> Any:
    import h5py

    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"])


def _write_archive(path: Path, copy: Path, config: Any) -> None:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            if name == ARCHIVED:
                target.writestr(name, json.dumps(config))
            else:
                with source.open(name) as read, target.open(name, "w", force_zip64=True) as written:
                    shutil.copyfileobj(read, written)


def _write_stored(path: Path, copy: Path, config: Any) -> None:
    import h5py

    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)


def _to_float32(config: Any) -> Iterator[str]:
    """Replace the dtypes of half precision in the configuration, and yield those that were replaced."""
    if isinstance(config, list):
        for value in config:
            yield from _to_float32(value)
    elif isinstance(config, dict):
        is_policy = config.get("class_name") in POLICIES and isinstance(config.get("config"), dict)
        places = [(config, "dtype"), (config, "output_dtype"), *([(config["config"], "name")] if is_policy else [])]
        for place, key in places:
            if isinstance(place.get(key), str) and place[key] in HALF:
                yield place[key]
                place[key] = "float32"
        for value in config.values():
            yield from _to_float32(value)


def _input_layers(config: Any) -> list[Any]:
    """Return the input layers of the outermost model."""
    inner = config.get("config") if isinstance(config, dict) else None
    layers = inner.get("layers", ()) if isinstance(inner, dict) else ()
    return [layer for layer in layers if isinstance(layer, dict) and layer.get("class_name") == "InputLayer"]


def _shape(config: Mapping[str, Any]) -> Shape | None:
    shape = config.get("batch_shape")
    return tuple(shape) if isinstance(shape, list) else None


def _set_shapes(config: Any, shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Set the open sizes of input layers, except the batch, and yield the names of the layers that were changed."""
    for layer in _input_layers(config):
        name, old = layer["config"].get("name"), _shape(layer["config"])
        new = shapes.get(name)
        if old is None or new is None or len(new) != len(old) or None not in old[1:]:
            continue
        sizes = (given if size is None else size for size, given in zip(old[1:], new[1:], strict=True))
        layer["config"]["batch_shape"] = [old[0], *sizes]
        yield name
