"""Runs recipes over the small models, for tests of what comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from tflq.cache import Store
from tflq.flatbuffer import Graph
from tflq.flatbuffer import load as read
from tflq.pipeline import Settings, run
from tflq.recipe import Recipe, load, only
from tflq.result import Result, Variant
from tflq.worker import Event, Progress, Started

MODES = ["float32", "dynamic", "float16", "int8", "int8_only", "int16x8", "int16x8_only"]
CALIBRATED = MODES[3:]
UNTRAINABLE = ("operation", "attention", "normalized", "two_heads", "quantized")


@dataclass(frozen=True)
class Ran:
    """What a run left behind."""

    result: Result
    output: Path
    events: tuple[Event, ...]

    @property
    def stages(self) -> tuple[str, ...]:
        """What was begun, in order."""
        return tuple(event.stage for event in self.events if isinstance(event, Started))

    @property
    def progress(self) -> tuple[Progress, ...]:
        return tuple(event for event in self.events if isinstance(event, Progress))

    @property
    def log(self) -> str:
        return (self.output / "tflq.log").read_text(encoding="utf-8", errors="replace")

    @property
    def report(self) -> Any:
        return json.loads((self.output / "report.json").read_text(encoding="utf-8"))

    @property
    def page(self) -> str:
        return (self.output / "report.md").read_text(encoding="utf-8")

    def sqnr_db(self, name: str, output: str = "scores") -> float:
        """The SQNR of that output in the variant's file; 200 if it is equal to the float32 file's."""
        measured = self.variant(name).measured
        assert measured is not None
        return measured.fidelity[output].sqnr_db or 200.0

    @property
    def codes(self) -> dict[str, int]:
        """The exit code of each variant."""
        return {variant.name: variant.exit_code for variant in self.result.variants}

    def variant(self, name: str) -> Variant:
        return next(variant for variant in self.result.variants if variant.name == name)

    def file(self, name: str) -> Path:
        return self.output / f"{self.result.name}-{name}.tflite"

    def graph(self, name: str) -> Graph:
        return read(self.file(name))


@dataclass(frozen=True)
class Recipes:
    """Writes recipes into a folder and runs them, each of a name of its own."""

    folder: Path
    models: Path
    data: Path
    converter: Mapping[str, Any] = field(default_factory=dict)
    """What the section `converter` has, unless a recipe says otherwise."""

    @property
    def uncorrected(self) -> Recipes:
        """The same without corrections, each of which makes and compares many files."""
        return replace(self, converter={"bias_correction": "off"})

    def write(self, model: str, variants: Sequence[Any], /, **keys: Any) -> Path:
        """A recipe for that model on its own data, twenty rows to calibrate and eight to measure, without latency.

        `keys` are the recipe's, and replace what is here by default.
        """
        rows = {"npz": str(self.data / f"{columns_of(model)}.npz")}
        recipe = {
            "model": str(self.models / model),
            "calibration": {"dataset": rows, "samples": 20, "seed": 1},
            "evaluation": {"dataset": rows, "samples": 8, "seed": 2},
            "variants": list(variants),
            "latency": "off",
        }
        if converter := {**self.converter, **keys.get("converter", {})}:
            recipe["converter"] = converter
            keys.pop("converter", None)
        number = sum(1 for _ in self.folder.iterdir())
        folder = self.folder / f"{number:03}-{Path(model).name}"
        folder.mkdir()
        file = folder / "recipe.yaml"
        plain = {key: value for key, value in (recipe | keys).items() if value is not None}
        file.write_text(yaml.safe_dump(plain, sort_keys=False))
        return file

    def run(self, model: str, variants: Sequence[Any], /, **keys: Any) -> Ran:
        return run_recipe(self.write(model, variants, **keys))


def columns_of(model: str) -> str:
    """The .npz file that fits the model."""
    stem = Path(model).stem
    return {
        "two_inputs": "pairs",
        "odd_names": "pairs",
        "embedding": "ids",
        "padded_ids": "ids",
        "uint8_input": "pixels",
    }.get(
        stem,
        "sequences"
        if stem.startswith(("lstm", "gru"))
        else "images"
        if stem.startswith(
            ("tiny_conv", "two_outputs", "dynamic_size", "unknown_op", "keras", "trainable", *UNTRAINABLE)
        )
        else "vectors",
    )


def run_recipe(
    recipe: Path | str | Mapping[str, Any],
    folder: Path | None = None,
    names: Sequence[str] = (),
    file: Path | None = None,
) -> Ran:
    """Run a recipe: its file, or its text or content, which is written into the folder."""
    if isinstance(recipe, Path):
        path = recipe
    else:
        assert folder is not None
        path = folder / "recipe.yaml"
        path.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(dict(recipe), sort_keys=False))
    loaded, events = only(load(path), names), list[Event]()
    return _ran(loaded, Settings(jobs=2, listen=events.append), file, events)


def keeping(recipe: Path, store: Store) -> Ran:
    """Run a recipe with what is kept between runs."""
    events: list[Event] = []
    return _ran(load(recipe), Settings(jobs=2, listen=events.append, store=store), None, events)


def made_twice(recipe: Path) -> Ran:
    events: list[Event] = []
    return _ran(load(recipe), Settings(jobs=2, listen=events.append, verifies_reproducible=True), None, events)


def _ran(recipe: Recipe, settings: Settings, file: Path | None, events: list[Event]) -> Ran:
    result = run(recipe, settings, file)
    return Ran(result, recipe.output, tuple(events))
