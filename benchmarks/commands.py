"""The commands of tflq that benchmarks run, and where they write."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.timing import PreparedCommand

TFLQ = str(Path(sys.executable).parent / "tflq")


def convert(recipe: Path, cache: Path, options: Sequence[str] = ()) -> PreparedCommand:
    """The conversion of a recipe that writes into its default folder, with this folder as the cache."""
    return PreparedCommand(
        [TFLQ, "convert", str(recipe), *options],
        {"TFLQ_CACHE_DIR": str(cache)},
        peak_of_workers=lambda: int(json_report(recipe)["peak_rss_bytes"]),
    )


def convert_from_nothing(recipe: Path, cache: Path, options: Sequence[str] = ()) -> PreparedCommand:
    """The same, with an empty cache before each run."""
    return replace(convert(recipe, cache, options), prepare=lambda: shutil.rmtree(cache, ignore_errors=True))


def output(recipe: Path) -> Path:
    """The folder of the files."""
    return recipe.parent / "build" / recipe.stem


def json_report(recipe: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output(recipe) / "report.json").read_text(encoding="utf-8"))
    return found
