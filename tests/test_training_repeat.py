"""Training is repeatable to the bit, also where it was interrupted between two epochs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lessons
import pytest
from running import Recipes

from tflq.errors import ConversionError, SourceError
from tflq.recipe import load
from tflq.sources.prepare import prepare
from tflq.training.outcome import TrainingResult
from tflq.training.train import ENVIRONMENT, TrainingJob
from tflq.worker import Failed, Task, Workers

pytestmark = pytest.mark.slow
EPOCHS = 3


@pytest.fixture(scope="module")
def job(recipes: Recipes, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """Training of the model with Dropout, whose chance must go on where it was."""
    folder, rows = tmp_path_factory.mktemp("repeated"), {"npz": str(recipes.data / "images.npz")}
    section = {
        "techniques": ["prune", "cluster", "quantize"],
        "clustering": {"clusters": 4},
        "dataset": rows,
        "label": "label",
        "epochs": EPOCHS,
        "batch_size": 8,
        "learning_rate": 0.01,
        "seed": 3,
        "validation": {"dataset": rows},
    }
    recipe = load(recipes.write("trainable_keras2.h5", ["qat_int8"], training=section))
    with Workers(folder / "log", None, lambda _: None) as workers:
        task = Task("read", prepare, (recipe.model, {}, folder / "source"), SourceError)
        source = workers.run(task).value
    assert recipe.training is not None
    return TrainingJob(
        recipe.training, recipe.training.techniques, recipe.model, {}, source, folder / "a", folder / "checkpoint"
    )


def train(job: TrainingJob, folder: Path, dies_at: str = "") -> TrainingResult | Failed:
    """Train in a process of its own, which gets SIGKILL where progress has a note that begins so."""
    task = Task(
        "train",
        lessons.train_and_die,
        (replace(job, folder=folder), dies_at),
        ConversionError,
        environment=ENVIRONMENT,
    )
    with Workers(job.checkpoints.parent / "log", None, lambda _: None) as workers:
        (outcome,) = workers.run_all([task], jobs=1)
    return outcome if isinstance(outcome, Failed) else outcome.value


def trained(job: TrainingJob, folder: Path) -> TrainingResult:
    result = train(job, folder)
    assert isinstance(result, TrainingResult), result
    return result


def weights(result: TrainingResult) -> bytes:
    """All variables of the model that was trained, as TensorFlow saves them."""
    assert result.quantized is not None
    return (result.quantized / "variables/variables.data-00000-of-00001").read_bytes()


@pytest.fixture(scope="module")
def quantizing(job: TrainingJob) -> TrainingJob:
    return replace(job, techniques=("quantize",), checkpoints=job.checkpoints.with_name("quantizing"))


@pytest.fixture(scope="module")
def undisturbed(quantizing: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return trained(quantizing, tmp_path_factory.mktemp("undisturbed"))


def resumed(job: TrainingJob, folder: Path, during: str) -> TrainingResult:
    """The result of training that was killed in the second epoch of that technique, and went on."""
    job = replace(job, checkpoints=folder / "points")
    killed = train(job, folder / "killed", f"{during} epoch")
    assert isinstance(killed, Failed)
    assert "the worker process was killed (SIGKILL)" in str(killed.error)
    return trained(job, folder / "resumed")


def test_interrupted_quantization_ends_as_if_it_had_not_been(
    quantizing: TrainingJob, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    result = resumed(quantizing, tmp_path, "quantize")
    assert [phase.resumed_after for phase in result.phases] == [1]
    assert weights(result) == weights(undisturbed)


def test_interrupted_clustering_ends_as_if_it_had_not_been(job: TrainingJob, tmp_path: Path) -> None:
    result = resumed(job, tmp_path, "cluster")
    assert [phase.resumed_after for phase in result.phases] == [EPOCHS, 1, 0]
    assert weights(result) == weights(trained(job, tmp_path / "undisturbed"))


def test_another_seed_removes_the_checkpoint_and_yields_other_weights(
    quantizing: TrainingJob, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    (before,) = quantizing.checkpoints.iterdir()
    other = replace(quantizing, training=quantizing.training.model_copy(update={"seed": 4}))
    result = trained(other, tmp_path)
    assert [phase.resumed_after for phase in result.phases] == [0]
    (after,) = quantizing.checkpoints.iterdir()
    assert after != before
    assert weights(result) != weights(undisturbed)
