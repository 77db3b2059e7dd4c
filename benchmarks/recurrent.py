"""Recurrent networks in every integer mode, without latency: the accuracy of each file beside the float32 file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.recurrent_models import ROWS, TEST
from tflq.interpreter import Runner

BUILD = Path(__file__).parent / "build" / "recurrent"
TFLQ = [sys.executable, "-c", "from tflq.cli import main; main()"]
MODES = ("int8", "int8_only", "int16x8", "int16x8_only")
FORECASTER = "lstm_forecaster"
DATA = {FORECASTER: "waves", "states_in_and_out": "chunks"}
RECIPE = """\
model: {{keras: {model}, recurrent: {form}}}
calibration: {{dataset: {{npz: calibration-{data}.npz}}}}
evaluation: {{dataset: {{npz: {data}.npz}}, samples: 50}}
variants: [float32, {modes}]
latency: off
output: {name}
"""


def report() -> list[str]:
    """Return a table with one row for each network and form of its recurrent layers."""
    lines = [
        f"## Recurrent networks, {TEST} unseen sequences",
        "",
        "Recipes are at their defaults, but `latency` is off. Points are percent of right answers; for the forecaster,"
        " percent of explained variance (R²).",
        "",
        f"| network | recurrent layers | float32 | {' | '.join(MODES)} |",
        "|---|---|---|" + "---|" * len(MODES),
    ]
    for model in sorted(_models()):
        for form in ("fused", "loop") if "lstm" in model.stem else ("loop",):
            lines.append(_row(model, form))
    return lines


def _models() -> Iterator[Path]:
    """Train the networks unless they exist, and yield their files."""
    if not (BUILD / "keyword_gru_keras2.h5").exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "benchmarks.recurrent_models", str(BUILD)], check=True)
        for name in ("keywords", "waves", "chunks"):
            with np.load(BUILD / f"{name}.npz") as arrays:
                seen = {key: array[: ROWS - TEST] for key, array in arrays.items() if key != "label"}
            np.savez(BUILD / f"calibration-{name}.npz", allow_pickle=False, **seen)
    yield from (path for path in BUILD.iterdir() if path.suffix in (".keras", ".h5"))


def _row(model: Path, form: str) -> str:
    """Convert the network in all modes that the form has, and return its row of the table."""
    data, modes = DATA.get(model.stem, "keywords"), [mode for mode in MODES if form == "loop" or mode != MODES[-1]]
    recipe = BUILD / f"{model.stem}-{form}.yaml"
    recipe.write_text(RECIPE.format(model=model.name, form=form, data=data, modes=", ".join(modes), name=recipe.stem))
    subprocess.run([*TFLQ, "convert", str(recipe)], check=False, capture_output=True)
    files = {mode: BUILD / recipe.stem / f"{recipe.stem}-{mode}.tflite" for mode in ("float32", *modes)}
    cells = [cell(file, BUILD / f"{data}.npz") for file in files.values()]
    return f"| {model.stem} | {form} | {' | '.join([*cells, '–'][: len(MODES) + 1])} |"


def cell(file: Path, data: Path) -> str:
    """Return the points and the size of the file, for the table."""
    return f"{points(file, data):.1f} ({file.stat().st_size / 1000:.1f} kB)" if file.exists() else "no file"


def points(file: Path, data: Path) -> float:
    """Return the points of the file on the last TEST rows of the data, which no network has seen."""
    run = Runner(file)
    with np.load(data) as arrays:
        unseen = {key: array[-TEST:] for key, array in arrays.items()}
    labels = unseen.pop("label")
    rows = [run({key: array[place : place + 1] for key, array in unseen.items()}) for place in range(TEST)]
    answers = np.concatenate([row.get("answer", next(iter(row.values()))) for row in rows])
    if labels.ndim > 1:
        return float(100 * (1 - np.square(answers - labels).sum() / np.square(labels - labels.mean()).sum()))
    return float(100 * np.mean(answers.argmax(1) == labels))
