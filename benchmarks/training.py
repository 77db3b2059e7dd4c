"""Training by kind of layer, for two epochs and without latency: which files are made, and their accuracy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.commands import TFLQ, json_report, output
from benchmarks.trainable import NAMES

BUILD = Path(__file__).parent / "build" / "training"
KITS = {"Keras 2": ("keras2", ".h5", {"TF_USE_LEGACY_KERAS": "1"}), "Keras 3": ("keras3", ".keras", {})}
RECIPE = """\
model: {{keras: {model}}}
calibration: {{dataset: {{npz: train.npz}}, samples: 100}}
evaluation: {{dataset: {{npz: test.npz}}, label: label, metric: top1, samples: all}}
training:
  techniques: [{techniques}]
  dataset: {{npz: train.npz}}
  label: label
  epochs: 2
  learning_rate: 1e-3
latency: "off"
variants: [{variants}]
"""
FLOATING = "{mode: float32, name: trained, trained: true}"
COLUMNS = {
    "quantize": "int8, qat_int8",
    "prune": f"int8, {FLOATING}",
    "cluster": f"int8, {FLOATING}",
    "prune, cluster, quantize": "int8, qat_int8",
}
"""Techniques → the variants that show what they give. The first is the file without training."""


def report() -> list[str]:
    """Return a table for Keras 2 and one for Keras 3: the accuracy of each trained file, and that of int8 alone."""
    lines: list[str] = []
    for title, (folder, suffix, environment) in KITS.items():
        command = [sys.executable, "-m", "benchmarks.trainable", str(BUILD / folder)]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
        lines += ["", f"### {title}", "", *_table(BUILD / folder, suffix)]
    return [
        "## Training by kind of layer",
        "",
        "Recipes are at their defaults but for the epochs, the learning rate, and `latency`, which is off.",
        "Accuracy on 397 handwritten digits. In brackets: the accuracy less that of int8 without training, in points.",
        *lines,
    ]


def _table(folder: Path, suffix: str) -> list[str]:
    lines = [f"| network | int8 | {' | '.join(COLUMNS)} |", "| --- |" + " --- |" * (len(COLUMNS) + 1)]
    for name in NAMES:
        model = name.replace(" ", "_")
        results = [_run(folder, f"{model}{suffix}", techniques) for techniques in COLUMNS]
        plain = next((one["int8"] for one in results if isinstance(one.get("int8"), float)), None)
        lines.append(f"| {name} | {_cell(plain, None)} | {' | '.join(_cell(_last(one), plain) for one in results)} |")
    return lines


def _run(folder: Path, model: str, techniques: str) -> dict[str, Any]:
    """Return variant → its accuracy, or what was said in place of a file."""
    recipe = folder / f"{Path(model).stem}-{techniques.replace(', ', '-')}.yaml"
    recipe.write_text(RECIPE.format(model=model, techniques=techniques, variants=COLUMNS[techniques]))
    shutil.rmtree(output(recipe), ignore_errors=True)
    ran = subprocess.run([TFLQ, "convert", str(recipe)], capture_output=True, text=True)
    if not (output(recipe) / "report.json").exists():
        return {"error": ran.stderr.strip().splitlines()[-1]}
    return {each["name"]: _accuracy(each) for each in json_report(recipe)["variants"]}


def _accuracy(variant: dict[str, Any]) -> float | str:
    if variant["error"] or variant["status"] == "broken":
        return str(variant["error"] or variant["violations"][0]["message"])
    return float(variant["metric"]["value"])


def _last(found: dict[str, Any]) -> Any:
    return list(found.values())[-1]


def _cell(value: Any, plain: float | None) -> str:
    if not isinstance(value, float):
        return str(value or "")
    return f"{value:.3f}" + ("" if plain is None else f" ({100 * (value - plain):+.1f})")
