"""Training as a stage: the source is pruned, clustered or trained for quantization, into models to convert."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflq.errors import ConversionError, SourceError, TflqError
from tflq.modes import QAT_MODES
from tflq.sources.prepare import prepare
from tflq.sources.prepared import PreparedSource
from tflq.sources.saved_model import SavedModel
from tflq.stages.context import RunContext
from tflq.stages.state import ConvertibleSource
from tflq.training import train as training
from tflq.training.outcome import TrainingResult
from tflq.worker import Done, Failed, Task

CHECKPOINT = "checkpoint"
"""The folder in the output folder from which an interrupted training continues."""


@dataclass(frozen=True)
class TrainedModels:
    """The models that training made from the source."""

    trained: TrainingResult
    floating: PreparedSource | None
    """The pruned or clustered model."""
    quantized: PreparedSource | None
    """The model of quantization-aware training."""


def train(context: RunContext, source: ConvertibleSource) -> Done[TrainedModels] | Failed | None:
    """Train the models that trained variants are converted from; None if there are no such variants."""
    recipe, folder = context.recipe, context.folder
    if recipe.training is None or not recipe.techniques:
        return None
    job = training.TrainingJob(
        recipe.training,
        recipe.techniques,
        recipe.model,
        recipe.inputs,
        source.prepared,
        folder / "trained",
        recipe.output / CHECKPOINT,
        any(variant.trained and variant.mode not in QAT_MODES for variant in recipe.variants),
    )
    task = Task("train", training.train, (job,), ConversionError, environment=training.ENVIRONMENT)
    (outcome,) = context.workers.run_all([task], jobs=1)
    if isinstance(outcome, Failed):
        return outcome
    trained = outcome.value
    try:
        floating = _prepared(context, trained.floating, folder / "source-trained")
        quantized = _prepared(context, trained.quantized, folder / "source-quantized")
    except TflqError as error:
        return Failed(error, outcome.seconds)
    return Done(TrainedModels(trained, floating, quantized), outcome.seconds, outcome.peak_rss_bytes)


def _prepared(context: RunContext, saved: Path | None, folder: Path) -> PreparedSource | None:
    if saved is None:
        return None
    model = SavedModel(saved_model=saved, batch_size=context.recipe.model.batch_size)
    arguments = (model, context.recipe.inputs, folder)
    task = Task(f"read the model of {saved.name}", prepare, arguments, SourceError)
    return context.workers.run(task).value
