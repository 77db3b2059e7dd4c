"""Six modes of one MobileNetV2, by tflq and by the script written by hand, each as one process from start to end.

tflq is timed with nothing kept from before; and where it finds what the first run kept, and one variant is new.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import calibration
from benchmarks.timing import Command, Timing, interleaved, rows

BUILD = Path(__file__).parent / "build"
CACHE = BUILD / "cache"
SIZE = 224
RECIPE = """\
name: {name}
model: mobilenet_v2
inputs:
  image: {{scale: 0.00392156862745098, range: [0, 1]}}
calibration:
  dataset: {{npz: images{samples}.npz}}
  samples: all
evaluation: {{dataset: {{npz: images{samples}.npz}}, samples: 1}}
latency: off
variants: [{variants}]
"""
MODES = ("float32", "dynamic", "float16", "int8", "int8_only", "int16x8")
REFINED = ("dynamic", "int8", "int8_only", "int16x8")
"""Those that do more by default than the script does."""
MODEL = """\
import keras, numpy as np, sys
keras.utils.set_random_seed(0)
size = int(sys.argv[2])
model = keras.applications.MobileNetV2((size, size, 3), weights=None)
for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.0
model(np.random.default_rng(0).random((16, size, size, 3), np.float32), training=True)
inputs = keras.Input((size, size, 3), name="image")
keras.Model(inputs, model(inputs)).export(sys.argv[1], verbose=False)
"""
IMPORT = "import tensorflow as tf; tf.lite.TFLiteConverter; import tflq.stages"


def report(runs: int, samples: int) -> list[str]:
    """Against the script; nothing is kept between runs."""
    model, recipe, plain = _model(), _recipe(samples), _recipe(samples, refines=False)
    script = [sys.executable, str(Path(__file__).parent / "by_hand.py"), str(model), str(_images(samples)), str(BUILD)]
    uncached = ["--set", "calibration.cache=false"]
    commands = {
        "by hand": script,
        "bias_correction off": [*_tflq(plain), *uncached],
        "tflq convert": [*_tflq(recipe), *uncached],
    }
    title = f"## Six modes of MobileNetV2 {SIZE}, {samples} calibration samples"
    note = (
        "tflq also checks each file, and measures its fidelity on one sample against TensorFlow and the float32 file."
        " With bias_correction off it refines nothing, as the script does not."
    )
    timings = interleaved(commands, runs, warm_up=False)
    plainly, faster = (
        timings["by hand"].median / timings[name].median for name in ("bias_correction off", "tflq convert")
    )
    largest = json.loads((BUILD / f"build/mobilenet{samples}/report.json").read_text())["peak_rss_bytes"]
    return [
        title,
        "",
        note,
        "",
        *rows(timings, "by hand"),
        "",
        f"tflq is {plainly:.1f} times as fast for the same work, and {faster:.1f} times where it refines, too; the"
        f" largest of its worker processes took {largest / 1e6:.0f} MB.",
    ]


def warm(runs: int, samples: int) -> list[str]:
    """A second variant where the first run has kept what it made."""
    recipe = _recipe(samples)
    _model(), _images(samples)
    os.environ["TFLQ_CACHE_DIR"] = str(CACHE)
    clear = [str(Path(sys.executable).parent / "tflq"), "cache", "--clear"]
    timings: dict[str, list[float]] = {"import": [], "first": [], "second": []}
    for _ in range(runs):
        subprocess.run(clear, check=True, stdout=subprocess.DEVNULL)
        commands = {
            "import": [sys.executable, "-c", IMPORT],
            "first": [*_tflq(recipe), "--only", "int8"],
            "second": [*_tflq(recipe), "--only", "int8_only"],
        }
        for name, command in commands.items():
            timings[name] += interleaved({name: command}, 1, warm_up=False)[name].seconds
    taken = {name: Timing(tuple(seconds), 0).median for name, seconds in timings.items()}
    part = (taken["second"] - taken["import"]) / (taken["first"] - taken["import"])
    stages = [
        stage["name"] for stage in json.loads((BUILD / f"build/mobilenet{samples}/report.json").read_text())["stages"]
    ]
    read = "is" if "read the calibration data" in stages else "is not"
    return [
        f"## A second variant, {samples} calibration samples",
        "",
        f"First int8 with nothing kept: {taken['first']:.2f} s; then int8_only: {taken['second']:.2f} s; importing"
        f" TensorFlow alone: {taken['import']:.2f} s (medians of {runs}). Beyond the import the second takes"
        f" {100 * part:.0f} % of the first, and the dataset {read} read.",
    ]


def per_sample() -> list[str]:
    """Calibration alone."""
    recipe = _recipe(100)
    _model(), _images(100)
    subprocess.run([*_tflq(recipe), "--only", "float32"], check=True, capture_output=True)
    float32 = BUILD / "build/mobilenet100/mobilenet100-float32.tflite"
    return [f"## Calibration of MobileNetV2 {SIZE}", "", *calibration.report(float32, SIZE)]


def _tflq(recipe: Path) -> Command:
    return [str(Path(sys.executable).parent / "tflq"), "convert", str(recipe)]


def _recipe(samples: int, refines: bool = True) -> Path:
    BUILD.mkdir(exist_ok=True)
    name = f"mobilenet{samples}" if refines else f"mobilenet{samples}plain"
    off = '{{mode: {}, bias_correction: "off"}}'
    variants = ", ".join(mode if refines or mode not in REFINED else off.format(mode) for mode in MODES)
    recipe = BUILD / f"{name}.yaml"
    recipe.write_text(RECIPE.format(name=name, samples=samples, variants=variants))
    return recipe


def _images(samples: int) -> Path:
    images = BUILD / f"images{samples}.npz"
    np.savez(images, image=np.random.default_rng(0).integers(0, 256, (samples, SIZE, SIZE, 3), np.uint8))
    return images


def _model() -> Path:
    model = BUILD / "mobilenet_v2"
    if not model.exists():
        BUILD.mkdir(exist_ok=True)
        command = [sys.executable, "-c", MODEL, str(model), str(SIZE)]
        subprocess.run(command, check=True, capture_output=True)
    return model
