"""What training tests do in the one worker that has Keras 2, so that TensorFlow is imported once for all of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tflq import conversion, flatbuffer, verify
from tflq.errors import TflqError
from tflq.flatbuffer import Weights
from tflq.modes import Float32, Mode, QatInt8Only
from tflq.recipe import load
from tflq.sources.prepare import prepare
from tflq.sources.prepared import PreparedSource
from tflq.sources.saved_model import SavedModel
from tflq.training.outcome import TrainingResult
from tflq.training.train import TrainingJob, train
from tflq.verify import VerifiedFile
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class Made:
    """A .tflite of what training left."""

    verified: VerifiedFile
    weights: tuple[Weights, ...]
    path: Path


@dataclass(frozen=True)
class Lesson:
    """What one recipe's training came to."""

    trained: TrainingResult
    files: Mapping[str, Made]
    """`quantized` and `floating`, where there is such a model."""


def learn(report: ProgressCallback, recipes: Mapping[str, Path], folder: Path) -> dict[str, Lesson | str]:
    """Train for each recipe, and convert what comes out; or what is said of why it cannot be."""
    answers: dict[str, Lesson | str] = {}
    for name, path in recipes.items():
        try:
            answers[name] = _learn(report, path, folder / name)
        except TflqError as error:
            answers[name] = f"{type(error).__name__}: {error}"
    return answers


def train_and_die(report: ProgressCallback, job: TrainingJob, dies_at: str) -> TrainingResult:
    """Train; but kill this process where progress has a note that begins with that text, if it is not empty."""

    def reporting(done: int, total: int, note: str = "") -> None:
        if dies_at and note.startswith(dies_at):
            os.kill(os.getpid(), signal.SIGKILL)
        report(done, total, note)

    return train(reporting, job)


def _learn(report: ProgressCallback, path: Path, folder: Path) -> Lesson:
    recipe = load(path)
    assert recipe.training is not None
    source = prepare(report, recipe.model, recipe.inputs, folder / "source")
    makes_floating = any(variant.trained and not variant.mode.startswith("qat") for variant in recipe.variants)
    order = TrainingJob(
        recipe.training,
        recipe.techniques,
        recipe.model,
        recipe.inputs,
        source,
        folder,
        folder / "points",
        makes_floating,
    )
    trained = train(report, order)
    files: dict[str, Made] = {}
    if trained.quantized:
        files["quantized"] = _made(report, source, trained.quantized, QatInt8Only(mode="qat_int8_only"))
    if trained.floating:
        files["floating"] = _made(report, source, trained.floating, Float32(mode="float32"))
    return Lesson(trained, files)


def _made(report: ProgressCallback, source: PreparedSource, saved: Path, variant: Mode) -> Made:
    prepared = prepare(report, SavedModel(saved_model=saved), {}, saved.with_name(f"{saved.name}-prepared"))
    file = saved.with_suffix(".tflite")
    conversion.convert(report, prepared, variant, file)
    weights = tuple(flatbuffer.weights(flatbuffer.load(file)))
    return Made(verify.verify(report, file, variant, source), weights, file)
