"""A small transformer in every mode, without latency, measured by tflq on 50 samples: accuracy beside float32."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.recurrent import TFLQ, cell
from benchmarks.recurrent_models import TEST

BUILD = Path(__file__).parent / "build" / "transformer"
MODES = ("float32", "float16", "dynamic", "int8", "int16x8")
RECIPE = f"""\
model: {{keras: transformer.keras}}
calibration: {{dataset: {{npz: calibration.npz}}}}
evaluation: {{dataset: {{npz: questions.npz}}, samples: 50}}
variants: [{", ".join(MODES)}]
latency: off
output: files
"""


def report() -> list[str]:
    """Return a table with one row."""
    _make()
    files = [BUILD / "files" / f"transformer-{mode}.tflite" for mode in MODES]
    cells = [cell(file, BUILD / "questions.npz") for file in files]
    return [
        f"## Transformer with a padding mask, {TEST} unseen sequences",
        "",
        "The recipe is at its defaults, but `latency` is off. Points are percent of right answers.",
        "",
        f"| network | {' | '.join(MODES)} |",
        "|---|" + "---|" * len(MODES),
        f"| transformer | {' | '.join(cells)} |",
    ]


def _make() -> None:
    """Train the network unless its file exists, and convert it in all modes."""
    if not (BUILD / "transformer.keras").exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "benchmarks.transformer_model", str(BUILD)], check=True)
        with np.load(BUILD / "questions.npz") as arrays:
            np.savez(BUILD / "calibration.npz", ids=arrays["ids"][:-TEST])
    (BUILD / "transformer.yaml").write_text(RECIPE)
    subprocess.run([*TFLQ, "convert", str(BUILD / "transformer.yaml")], check=False, capture_output=True)
