"""How long one waits for the commands that need no TensorFlow, against an interpreter that does nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.timing import interleaved, rows

ROOT = Path(__file__).parent.parent


def report(runs: int) -> list[str]:
    tflq = str(Path(sys.executable).parent / "tflq")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "tflq --help": [tflq, "--help"],
        "tflq check": [tflq, "check", str(ROOT / "configs/everything.yaml")],
        "tflq inspect": [tflq, "inspect", str(ROOT / "tests/data/cnn_int8.tflite")],
    }
    return ["## Start", "", *rows(interleaved(commands, runs), "python -c pass")]
