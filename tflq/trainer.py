"""Training as a stage of a run: from the source to models that convert as it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflq import sources, training
from tflq.errors import ConversionError, SourceError, TflqError
from tflq.recipe import Recipe
from tflq.sources import Prepared, SavedModel
from tflq.training import Order, Trained
from tflq.worker import Done, Failed, Task, Workers

CHECKPOINT = "checkpoint"
"""The folder of the output folder from which training that was interrupted goes on."""


@dataclass(frozen=True)
class Pupil:
    """What training made of the source."""

    trained: Trained
    floating: Prepared | None
    """As pruning or clustering left it."""
    quantized: Prepared | None
    """As quantization-aware training left it."""


def train(recipe: Recipe, source: Prepared, folder: Path, workers: Workers) -> Done[Pupil] | Failed | None:
    """The models that trained variants are made of; None where there are no such variants."""
    if recipe.training is None or not recipe.techniques:
        return None
    checkpoint = recipe.output / CHECKPOINT
    order = Order(
        recipe.training, recipe.techniques, recipe.model, recipe.inputs, source, folder / "trained", checkpoint
    )
    task = Task("train", training.train, (order,), ConversionError, environment=training.ENVIRONMENT)
    (outcome,) = workers.run_all([task], jobs=1)
    if isinstance(outcome, Failed):
        return outcome
    trained = outcome.value
    try:
        floating = _prepared(recipe, trained.floating, folder / "source-trained", workers)
        quantized = _prepared(recipe, trained.quantized, folder / "source-quantized", workers)
    except TflqError as error:
        return Failed(error, outcome.seconds)
    return Done(Pupil(trained, floating, quantized), outcome.seconds, outcome.peak_rss_bytes)


def _prepared(recipe: Recipe, saved: Path | None, folder: Path, workers: Workers) -> Prepared | None:
    if saved is None:
        return None
    model = SavedModel(saved_model=saved, batch_size=recipe.model.batch_size)
    task = Task(f"read the model of {saved.name}", sources.prepare, (model, recipe.inputs, folder), SourceError)
    return workers.run(task).value
