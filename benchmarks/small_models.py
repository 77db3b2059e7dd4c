"""A zoo of many small Keras models, two modes each: by `tflq batch`, and by a loop in one Python process."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.timing import Command, interleaved, rows

BUILD = Path(__file__).parent / "build" / "small"
TFLQ = str(Path(sys.executable).parent / "tflq")
VECTORS = BUILD / "vectors.npz"
LOOP = "a loop in one process"
PLAIN = '{mode: int8, bias_correction: "off"}'
SAMPLES, WIDTH = 16, 16
MODEL = """\
import sys
import keras
from keras import layers
for number in range(int(sys.argv[2])):
    keras.utils.set_random_seed(number)
    hidden = [layers.Dense(8 + number % 5, activation="relu"), layers.Dense(6 + number % 7, activation="relu")]
    if number % 2:
        hidden = [layers.Reshape((4, 4, 1)), layers.Conv2D(2 + number % 3, 3, activation="relu"), layers.Flatten()]
    inputs = keras.Input((int(sys.argv[3]),), name="x")
    outputs = inputs
    for layer in [*hidden, layers.Dense(2 + number // 2 % 30)]:
        outputs = layer(outputs)
    keras.Model(inputs, outputs).save(f"{sys.argv[1]}/net{number:02}.keras")
"""
ZOO = """\
kind: zoo
output: {name}
defaults:
  calibration: {{dataset: {{npz: ../vectors.npz}}}}
  variants: [float32, {int8}]
models: [models/*]
"""


def report(models: int, runs: int = 1) -> list[str]:
    """Return the table for that many models, with nothing in the cache, and for a batch with nothing to do."""
    folder = _models(models)
    loop = [sys.executable, str(Path(__file__).parent / "small_loop.py")]
    default = _batch(folder, "default", "int8")
    commands = {
        LOOP: [*loop, str(folder / "models"), str(VECTORS), str(folder)],
        "tflq batch": _from_nothing(folder, default),
        "tflq batch, bias_correction: off": _from_nothing(folder, _batch(folder, "plain", PLAIN)),
    }
    made = interleaved(commands, runs, warm_up=False)
    skipped = interleaved({"python -c pass": [sys.executable, "-c", "pass"], "nothing to do": default}, 3)
    beyond = skipped["nothing to do"].median - skipped["python -c pass"].median
    return [
        f"## {models} small models, {SAMPLES} samples, float32 and int8",
        "",
        "The batch runs two jobs. It also checks each file, and compares it with TensorFlow and the float32 file.",
        "",
        *rows(made, LOOP),
        "",
        f"A batch with nothing to do takes {beyond:.2f} s more than the start of Python.",
    ]


def _batch(folder: Path, name: str, int8: str) -> Command:
    zoo = folder / f"{name}.yaml"
    zoo.write_text(ZOO.format(name=name, int8=int8))
    return [TFLQ, "batch", str(zoo), "--jobs", "2"]


def _from_nothing(folder: Path, batch: Command) -> Command:
    """Return the command that makes all models of a batch, with an empty cache."""
    cache = shlex.quote(str(folder / "cache"))
    return ["sh", "-ec", f"rm -rf {cache}; TFLQ_CACHE_DIR={cache} exec {shlex.join(batch)} --force"]


def _models(count: int) -> Path:
    """Write the models and the samples unless they exist, and return their folder."""
    folder = BUILD / str(count)
    if not (folder / "models").exists():
        (folder / "models").mkdir(parents=True)
        command = [sys.executable, "-c", MODEL, str(folder / "models"), str(count), str(WIDTH)]
        subprocess.run(command, check=True, capture_output=True)
    np.savez(VECTORS, x=np.random.default_rng(0).normal(0, 1, (SAMPLES, WIDTH)).astype(np.float32))
    return folder
