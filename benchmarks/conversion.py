"""Six modes of one MobileNetV2, by tflq and by the script written by hand, each as one process from start to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.timing import interleaved, rows

BUILD = Path(__file__).parent / "build"
SIZE = 160
RECIPE = """\
model: mobilenet_v2
inputs:
  image: {{scale: 0.00392156862745098}}
calibration:
  dataset: {{npz: images{samples}.npz}}
  samples: all
evaluation: {{dataset: {{npz: images{samples}.npz}}, samples: 1}}
latency: off
variants: [float32, dynamic, float16, int8, int8_only, int16x8]
"""
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


def report(runs: int, samples: int) -> list[str]:
    model = _model()
    images = BUILD / f"images{samples}.npz"
    np.savez(images, image=np.random.default_rng(0).integers(0, 256, (samples, SIZE, SIZE, 3), np.uint8))
    recipe = BUILD / f"mobilenet{samples}.yaml"
    recipe.write_text(RECIPE.format(samples=samples))
    tflq = str(Path(sys.executable).parent / "tflq")
    script = [sys.executable, str(Path(__file__).parent / "by_hand.py"), str(model), str(images), str(BUILD)]
    commands = {"by hand": script, "tflq convert": [tflq, "convert", str(recipe)]}
    title = f"## Six modes of MobileNetV2 {SIZE}, {samples} calibration samples"
    note = (
        "tflq also checks each file, and measures its fidelity on one sample against TensorFlow and the float32 file."
    )
    table = rows(interleaved(commands, runs), "by hand")
    largest = json.loads((BUILD / f"build/mobilenet{samples}/report.json").read_text())["peak_rss_bytes"]
    return [title, "", note, "", *table, "", f"The largest of tflq's worker processes took {largest / 1e6:.0f} MB."]


def _model() -> Path:
    model = BUILD / "mobilenet_v2"
    if not model.exists():
        BUILD.mkdir(exist_ok=True)
        command = [sys.executable, "-c", MODEL, str(model), str(SIZE)]
        subprocess.run(command, check=True, capture_output=True)
    return model
