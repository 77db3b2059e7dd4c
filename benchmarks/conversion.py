"""Conversions by tflq and by the script written by hand, each as one process from start to end.

The recipe of tflq names the model, the samples and the modes. All else is at its default: so tflq also corrects, checks
and measures each file, and its latency. Every run starts with an empty cache, except where a second run is measured.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import calibration, models, synthetic
from benchmarks.commands import convert, convert_from_nothing, json_report, output
from benchmarks.timing import Commands, Timing, interleaved, rows, run

BUILD = Path(__file__).parent / "build"
CACHE = BUILD / "cache"
RECIPE = """\
name: {name}
model: {model}
inputs:
  image: {{scale: 0.00392156862745098, range: [0, 1]}}
calibration: {{dataset: {{npz: {images}}}, samples: all}}
variants: [{modes}]
"""
PLAIN = 'converter: {bias_correction: "off"}\n'
SCRIPT, WITHOUT, DEFAULT = "by hand", "bias_correction off", "defaults"
IMPORT = "import tensorflow as tf; tf.lite.TFLiteConverter; import tflq.stages"


@dataclass(frozen=True)
class Work:
    """A model, the number of its calibration samples, and the modes that it is converted to."""

    title: str
    model: str
    samples: int
    modes: tuple[str, ...] = ("float32", "dynamic", "float16", "int8", "int8_only", "int16x8")
    size: int = 224

    @property
    def images(self) -> Path:
        return BUILD / f"images{self.samples}_{self.size}.npz"

    def make(self) -> Path:
        """Write the pictures, and return the model."""
        synthetic.save(self.images, self.samples, self.size)
        return models.made(self.model, BUILD, self.size)

    def recipe(self, is_plain: bool = False) -> Path:
        """Write the recipe, with corrections as by default, or without."""
        path = BUILD / f"{self.model}{self.samples}{'plain' if is_plain else ''}.yaml"
        model = f"{self.model}_{self.size}"
        text = RECIPE.format(name=path.stem, model=model, images=self.images.name, modes=", ".join(self.modes))
        path.write_text(text + (PLAIN if is_plain else ""))
        return path


def mobilenet(samples: int) -> Work:
    return Work("Six modes of MobileNetV2 224", "mobilenet_v2", samples)


def efficientnet(samples: int) -> Work:
    return Work("Six modes of EfficientNet-Lite0 224", "efficientnet_lite0", samples)


def resnet(samples: int) -> Work:
    return Work("Two modes of ResNet50 224", "resnet50", samples, ("float32", "int8"))


def report(work: Work, runs: int) -> list[str]:
    """Against the script; nothing is kept between runs."""
    model, scripted = work.make(), BUILD / "by_hand"
    scripted.mkdir(exist_ok=True)
    script = [sys.executable, str(Path(__file__).parent / "by_hand.py"), str(model), str(work.images), str(scripted)]
    commands: Commands = {
        SCRIPT: [*script, *work.modes],
        WITHOUT: convert_from_nothing(work.recipe(is_plain=True), CACHE),
        DEFAULT: convert_from_nothing(work.recipe(), CACHE),
    }
    timings = interleaved(commands, runs, warm_up=False)
    note = (
        "tflq also checks each file, and measures its fidelity on the samples and its latency. By default it corrects"
        f" the files; with {WITHOUT} it corrects nothing, as the script does not."
    )
    return [
        f"## {work.title}, {work.samples} calibration samples",
        "",
        note,
        "",
        *rows(timings, SCRIPT),
        "",
        _summary(timings),
    ]


def _summary(timings: dict[str, Timing]) -> str:
    script = timings[SCRIPT]
    faster = {name: script.median / timings[name].median for name in (WITHOUT, DEFAULT)}
    peaks = {name: timing.peak_rss_bytes / 1e6 for name, timing in timings.items()}
    return (
        f"tflq is {faster[DEFAULT]:.2f} times as fast as the script by default, and {faster[WITHOUT]:.2f} times without"
        f" corrections; its largest process took {peaks[DEFAULT]:.0f} MB by default, that of the script"
        f" {peaks[SCRIPT]:.0f} MB."
    )


def warm(work: Work, runs: int) -> list[str]:
    """A second variant where the first run has kept what it made."""
    work.make()
    recipe = work.recipe()
    commands: Commands = {
        "import": [sys.executable, "-c", IMPORT],
        "first": convert_from_nothing(recipe, CACHE, ["--only", "int8"]),
        "second": convert(recipe, CACHE, ["--only", "int8_only"]),
    }
    timings = interleaved(commands, runs, warm_up=False)
    taken = {name: timing.median for name, timing in timings.items()}
    part = (taken["second"] - taken["import"]) / (taken["first"] - taken["import"])
    stages = [stage["name"] for stage in json_report(recipe)["stages"]]
    read = "is" if "read the calibration data" in stages else "is not"
    return [
        f"## A second variant of {work.model}, {work.samples} calibration samples",
        "",
        f"First int8 with nothing kept: {taken['first']:.2f} s; then int8_only: {taken['second']:.2f} s; importing"
        f" TensorFlow alone: {taken['import']:.2f} s (medians of {runs}). Beyond the import the second takes"
        f" {100 * part:.0f} % of the first, and the dataset {read} read for calibration.",
    ]


def per_sample(work: Work) -> list[str]:
    """Calibration alone."""
    work.make()
    recipe = work.recipe()
    run(convert(recipe, CACHE, ["--only", "float32"]))
    float32 = output(recipe) / f"{recipe.stem}-float32.tflite"
    return [f"## Calibration of {work.model} {work.size}", "", *calibration.report(float32, work.size)]
