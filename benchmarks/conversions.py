"""Convert a model by tflq with the rows that calibrate it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fidelity import load as load_npz
from tflq.cache import Store
from tflq.pipeline import Settings, run
from tflq.recipe import load

MODES = ("int8", "int16x8")
CACHE_BYTES = 20_000_000_000


@dataclass(frozen=True)
class Part:
    """A model, and a folder with the rows that calibrate it and the rows that measure its files."""

    model: Path
    home: Path
    title: str

    @property
    def calibrates(self) -> Path:
        return self.home / "calibrate.npz"

    @property
    def measures(self) -> Path:
        return self.home / "measure.npz"

    @property
    def float32(self) -> Path:
        """The baseline; `convert` must have made it under the name `default`."""
        return self.home / "default/default-float32.tflite"

    def say(self, what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self.model.stem}, {self.title}: {what} …", file=sys.stderr, flush=True)

    def convert(self, name: str, variants: Sequence[Any], ranges: Any = "auto") -> dict[str, Path]:
        """Return the files of the variants; those that fail are missing, and are told of.

        tflq measures on one sample, since the files are measured on other rows later.
        """
        shapes = {key: list(rows.shape) for key, rows in load_npz(self.calibrates).items()}
        dataset = {"npz": str(self.calibrates)}
        recipe = {
            "name": name,
            "model": {"keras": str(self.model)} if self.model.suffix == ".keras" else str(self.model),
            "inputs": {key: {"shape": [1, *shape[1:]]} for key, shape in shapes.items()},
            "calibration": {"dataset": dataset, "samples": "all", "seed": "first", "ranges": ranges},
            "evaluation": {"dataset": dataset, "samples": 1, "seed": "first"},
            "variants": list(variants),
            "latency": "off",
            "output": str(self.home / name),
        }
        path = self.home / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe))
        made = run(load(path), Settings(store=Store(self.home / "cache", CACHE_BYTES)))
        for one in made.variants:
            if one.error:
                self.say(f"{one.name} failed: {one.error}")
        return {one.name: self.home / name / one.file.name for one in made.variants if one.file and not one.error}
