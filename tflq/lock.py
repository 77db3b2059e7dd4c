"""tflq.lock: what the files of a run rest on, small and stable, so that it can be committed. `tflq verify` reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from tflq import cache, strict
from tflq.errors import DatasetError, RecipeError
from tflq.recipe import Recipe
from tflq.recipe_files import data_sections, files_of
from tflq.result import Result, Variant
from tflq.strict import Strict

LOCK = "tflq.lock"
HEADING = "# tflq convert wrote this file. `tflq verify` compares the .tflite files, the model and the data with it.\n"
SCHEMA_VERSION = 1
UNKNOWN = "unknown"
"""The digest of data whose files are unknown, such as a TensorFlow dataset that is not prepared yet."""
DIGITS = 16
"""The hexadecimal digits of a digest that only tells of a change. Those of the .tflite files are whole."""
LEFT_OUT = {"output", "cache", "extends"}
"""The keys of a recipe that change no file."""
MIN_REACH_DB = 0.5
"""SQNR that differs by less is the same: other versions and processors add in another order."""
ROUNDING = 1e-6
"""The lock has metrics with six digits after the point."""


class LockedFile(Strict):
    """A .tflite file and its figures."""

    sha256: str
    size_bytes: int
    exit_code: int
    """The exit code of the variant: 1 if a gate failed, 6 if the file broke its contract."""
    metric: float | None = None
    metric_reach: float | None = None
    """Half the width of the 95 % interval of the metric's drop."""
    sqnr_db: dict[str, float] = Field(default_factory=dict)
    """The SQNR of each output. An output that equals the float32 file's is left out."""


class Lock(Strict):
    """What the files of a run rest on."""

    schema_version: int
    name: str
    versions: dict[str, str]
    recipe: dict[str, str]
    """The digest of each key of the recipe, with its defaults."""
    model: str
    """The digest of the files of the model."""
    data: dict[str, str]
    """The digest of the files of each dataset, and of each metric that is code."""
    files: dict[str, LockedFile]


@dataclass(frozen=True)
class Difference:
    """A thing that is not as the lock says."""

    where: str
    message: str
    is_certain: bool = True
    """False for a note: it may change the files of another run, but these files are as they were."""


def of_run(recipe: Recipe, result: Result) -> str:
    """Return the lock of a run as the text of its file."""
    files = {variant.file.name: _locked(variant) for variant in result.variants if variant.file}
    lock = Lock(
        schema_version=SCHEMA_VERSION,
        name=recipe.name,
        versions=result.environment,
        recipe=_recipe_digests(recipe),
        model=cache.contents(recipe.model.path)[:DIGITS],
        data=_data_digests(recipe),
        files=files,
    )
    return HEADING + strict.write(lock.model_dump(mode="json", exclude_none=True))


def _locked(variant: Variant) -> LockedFile:
    assert variant.file is not None
    measured = variant.measured
    score = measured.metric if measured else None
    outputs = measured.fidelity.items() if measured else ()
    return LockedFile(
        sha256=variant.file.sha256,
        size_bytes=variant.file.size_bytes,
        exit_code=variant.exit_code,
        metric=round(score.value, 6) if score else None,
        metric_reach=round((score.ci95[1] - score.ci95[0]) / 2, 6) if score else None,
        sqnr_db={name: round(output.sqnr_db, 2) for name, output in outputs if output.sqnr_db is not None},
    )


def _recipe_digests(recipe: Recipe) -> dict[str, str]:
    """Return a digest of each key. Paths in it are relative to the output folder, so that the tree can be moved."""
    plain = recipe.model_dump(mode="json", exclude_none=True, context={"folder": recipe.output})
    return {
        key: cache.digest(json.dumps(value, sort_keys=True))[:DIGITS]
        for key, value in plain.items()
        if key not in LEFT_OUT
    }


def _data_digests(recipe: Recipe) -> dict[str, str]:
    digests = {}
    for name, data in data_sections(recipe).items():
        try:
            contents = sorted((path.name, cache.sha256(path)) for path in files_of(data) if path.is_file())
            digests[name] = cache.digest(*(part for pair in contents for part in pair))[:DIGITS]
        except (DatasetError, OSError):
            digests[name] = UNKNOWN
    return digests


def read(output: Path) -> Lock:
    """Return the lock of an output folder. Raise RecipeError if there is none, or if it is of another version."""
    cache.clear_workspaces(output)
    path = output / LOCK
    if not path.is_file():
        raise RecipeError(f"{path}: there is no such file: tflq convert writes it beside the .tflite files")
    source = strict.read(path)
    version = source.data.get("schema_version") if isinstance(source.data, dict) else None
    if version != SCHEMA_VERSION:
        raise RecipeError(f"{path}: has the schema version {version}, not {SCHEMA_VERSION}: convert again to renew it")
    return strict.validate(source, Lock, output)


def differences(recipe: Recipe, lock: Lock) -> Iterator[Difference]:
    """Yield each difference between the lock and the present files, recipe, model, data and versions.

    Nothing is converted or run. Raise SourceError if the model is missing.
    """
    yield from _file_differences(recipe.output, lock.files)
    yield from _changed("the recipe", lock.recipe, _recipe_digests(recipe))
    if cache.contents(recipe.model.path)[:DIGITS] != lock.model:
        yield Difference(str(recipe.model.path), "the model has changed since the files were made")
    yield from _changed("the data", lock.data, _data_digests(recipe))
    for package, version in cache.versions(trains=recipe.training is not None).items():
        if lock.versions.get(package) != version:
            message = f"is {version} here, and was {lock.versions.get(package)} when the files were made"
            yield Difference(package, message, is_certain=False)


def _file_differences(output: Path, files: Mapping[str, LockedFile]) -> Iterator[Difference]:
    for name, file in files.items():
        path = output / name
        try:
            if cache.sha256(path) != file.sha256:
                yield Difference(str(path), "the file is not the one that was made")
        except FileNotFoundError:
            yield Difference(str(path), "the file is missing")
        except OSError as error:
            yield Difference(str(path), f"the file cannot be read: {error.strerror}")


def _changed(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    for key in {**before, **now}:
        if UNKNOWN in (before.get(key), now.get(key)):
            message = f"it is unknown whether {key} changed, because its files are unknown"
            yield Difference(what, message, is_certain=False)
        elif before.get(key) != now.get(key):
            yield Difference(what, f"{key} has changed since the files were made")


def figure_differences(name: str, locked: LockedFile, variant: Variant) -> Iterator[Difference]:
    """Yield each figure of a new measurement that is outside the interval of the locked one."""
    measured = variant.measured
    if measured is None:
        yield Difference(name, f"could not be measured: {variant.why}")
        return
    score = measured.metric
    reach = (locked.metric_reach or 0.0) + ROUNDING
    if score is not None and locked.metric is not None and abs(score.value - locked.metric) > reach:
        yield Difference(name, f"{score.name} is {score.value:.4f}, and was {locked.metric:.4f}")
    for output, before in locked.sqnr_db.items():
        near = measured.fidelity.get(output)
        now = near.sqnr_db if near else None
        if now is not None and abs(now - before) > MIN_REACH_DB:
            yield Difference(name, f"output {output!r} has an SQNR of {now:.1f} dB, and had {before:.1f} dB")
