"""A zoo of ten small models, six modes each: by `tflq batch`, and by shell loops over what makes one model."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import synthetic
from benchmarks.commands import TFLQ
from benchmarks.timing import Commands, PreparedCommand, interleaved, rows

BUILD = Path(__file__).parent / "build"
CACHE = BUILD / "cache"
MODELS = 10
MODES = ("float32", "dynamic", "float16", "int8", "int8_only", "int16x8")
SIZE = 32
MODEL = """\
import sys
import keras
from keras import layers
for number in range(int(sys.argv[2])):
    keras.utils.set_random_seed(number)
    width = 8 + number
    model = keras.Sequential([
        layers.Input((int(sys.argv[3]), int(sys.argv[3]), 3), name="image"),
        *[layer for depth in range(4) for layer in (
            layers.DepthwiseConv2D(3, padding="same"), layers.Conv2D(width * 2**depth, 1, activation="relu"),
            layers.MaxPooling2D())],
        layers.Flatten(), layers.Dense(10)])
    model.export(f"{sys.argv[1]}/net{number}", verbose=False)
"""
ZOO = """\
kind: zoo
defaults:
  inputs: {{image: {{scale: 0.00392156862745098}}}}
  calibration: {{dataset: {{npz: images.npz}}, samples: all}}
  variants: [{variants}]
models: [models/*]
"""


def report(samples: int) -> list[str]:
    folder = _zoo("ten", MODES, samples)
    by_hand = Path(__file__).parent / "by_hand.py"
    python, tflq = shlex.quote(sys.executable), shlex.quote(TFLQ)
    here = shlex.quote(str(folder))
    naive = f"for net in models/*; do {python} {by_hand} $net images.npz by_hand {' '.join(MODES)}; done"
    alone = f"for recipe in build/net*/recipe.yaml; do {tflq} convert $recipe --output one/$(dirname $recipe); done"
    batch, cache = [TFLQ, "batch", str(folder / "zoo.yaml"), "--force", "--jobs", "2"], {"TFLQ_CACHE_DIR": str(CACHE)}
    commands: Commands = {
        "tflq batch --jobs 2": PreparedCommand(batch, cache, prepare=_forget),
        "a loop over the script written by hand": ["sh", "-ec", f"cd {here}; mkdir -p by_hand; {naive}"],
        "a loop over tflq convert": PreparedCommand(["sh", "-ec", f"cd {here}; {alone}"], cache, prepare=_forget),
    }
    timed = interleaved(commands, runs=1, warm_up=False)
    return [f"## Six modes of {MODELS} small models, {samples} samples", "", *rows(timed, "tflq batch --jobs 2")]


def report_of_skipping(recipes: int, runs: int) -> list[str]:
    """A second run over recipes that are up to date, each with files of its own."""
    folder = _zoo("hundred", ("float32",), samples=4)
    for number in range(recipes):
        text = f"extends: ../base.yaml\nmodel: {{saved_model: ../models/net{number % MODELS}}}\n"
        path = folder / f"recipes/net{number}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    images = "calibration: {dataset: {npz: images.npz}}\nlatency: off\nmode: float32\n"
    (folder / "base.yaml").write_text(images)
    command = [TFLQ, "batch", str(folder / "recipes")]
    subprocess.run(command, check=True, capture_output=True)
    timed = interleaved({"python -c pass": [sys.executable, "-c", "pass"], "tflq batch": command}, runs)
    imported = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True)
    names = {line.rpartition("|")[2].strip() for line in imported.stderr.splitlines()}
    said = f"TensorFlow was imported: {'yes' if 'tensorflow' in names else 'no'}."
    return [f"## A second run over {recipes} recipes that are up to date", "", *rows(timed, "python -c pass"), "", said]


def _forget() -> None:
    shutil.rmtree(CACHE, ignore_errors=True)


def _zoo(name: str, modes: Sequence[str], samples: int) -> Path:
    folder = BUILD / name
    if not (folder / "models").exists():
        (folder / "models").mkdir(parents=True)
        command = [sys.executable, "-c", MODEL, str(folder / "models"), str(MODELS), str(SIZE)]
        subprocess.run(command, check=True, capture_output=True)
    synthetic.save(folder / "images.npz", samples, SIZE)
    (folder / "zoo.yaml").write_text(ZOO.format(variants=", ".join(modes)))
    return folder
