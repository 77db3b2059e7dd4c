"""A run of a tiny model with an empty cache, and with one that has many entries of other models."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

from benchmarks import models, synthetic
from benchmarks.commands import convert
from benchmarks.timing import PreparedCommand, interleaved, rows

BUILD = Path(__file__).parent / "build"
KINDS = {
    "model": ("prepared.json", "float32.tflite", "model/saved_model.pb", "model/fingerprint.pb"),
    "samples": ("samples.json",),
    "ranges": ("ranges.npz", "ranges.json"),
    "refined": ("float32.tflite", "ranges.npz", "report.json"),
    "answers": ("answers.npz",),
}
"""The kinds of entries of one model, and the number of files of each. Their contents do not matter."""
CONTENT = bytes(1000)
"""The size of each file, in bytes."""
OTHER = re.compile(r"\w+-\d{40}")
"""The name of an entry of another model: its key is a number with zeros in front."""
RECIPE = """\
model: {model}
inputs:
  image: {{scale: 0.00392156862745098}}
calibration: {{dataset: {{npz: {images}}}}}
variants: [int8]
"""
EMPTY, FULL = "an empty cache", "a cache with entries"


def report(entries: int, runs: int) -> list[str]:
    """Both caches are used once before, so that what tflq knows about its cache is there."""
    model = models.made("tiny", BUILD, 32)
    images = synthetic.save(BUILD / "tiny_images.npz", 16, 32)
    recipe, full = BUILD / "tiny.yaml", BUILD / f"cache_of_{entries}"
    recipe.write_text(RECIPE.format(model=model.name, images=images.name))
    _fill(full, entries)
    caches = {EMPTY: BUILD / "cache_of_none", FULL: full}
    timings = interleaved({name: _command(recipe, cache) for name, cache in caches.items()}, runs)
    ratio = timings[FULL].median / timings[EMPTY].median
    return [
        f"## A cache of {entries} entries of other models",
        "",
        *rows(timings, EMPTY),
        "",
        f"With {entries} entries of other models a run of a tiny model takes {ratio:.2f} times as long.",
    ]


def _command(recipe: Path, cache: Path) -> PreparedCommand:
    return replace(convert(recipe, cache), prepare=lambda: _forget(cache))


def _fill(cache: Path, entries: int) -> None:
    """Make a cache of so many entries, in the format of the store, and keep it for the next time."""
    if len([entry for entry in cache.glob("*/") if OTHER.fullmatch(entry.name)]) == entries:
        return
    shutil.rmtree(cache, ignore_errors=True)
    digest = hashlib.sha256(CONTENT).hexdigest()
    for number in range(entries):
        kind = list(KINDS)[number % len(KINDS)]
        entry = cache / f"{kind}-{number:040d}"
        for name in KINDS[kind]:
            (entry / name).parent.mkdir(parents=True, exist_ok=True)
            (entry / name).write_bytes(CONTENT)
        (entry / "manifest.json").write_text(json.dumps(dict.fromkeys(KINDS[kind], digest)), encoding="utf-8")


def _forget(cache: Path) -> None:
    """Remove the entries of earlier runs, but not those of other models."""
    for entry in cache.glob("*/"):
        if not entry.name.startswith(".") and not OTHER.fullmatch(entry.name):
            shutil.rmtree(entry)
