"""Training is repeatable to the bit, also where it was interrupted between two epochs."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from running import Recipes

from tflq import sources, training
from tflq.errors import ConversionError, SourceError
from tflq.recipe import load
from tflq.training import TrainingJob, TrainingResult
from tflq.worker import Event, Failed, Progress, Task, Workers

pytestmark = pytest.mark.slow
EPOCHS = 8


def order_for(recipes: Recipes, folder: Path, techniques: str, **keys: object) -> TrainingJob:
    """Training of the model with Dropout, whose chance must go on where it was."""
    rows = {"npz": str(recipes.data / "images.npz")}
    section = {
        "techniques": techniques.split(),
        "dataset": rows,
        "label": "label",
        "epochs": EPOCHS,
        "batch_size": 8,
        "learning_rate": 0.01,
        "seed": 3,
        "validation": {"dataset": rows},
    }
    if "cluster" in techniques:
        section["clustering"] = {"clusters": 4}
    recipe = load(recipes.write("trainable_keras2.h5", ["qat_int8"], training=section | keys))
    with Workers(folder / "log", None, lambda _: None) as workers:
        task = Task("read", sources.prepare, (recipe.model, {}, folder / "source"), SourceError)
        source = workers.run(task).value
    assert recipe.training is not None
    return TrainingJob(
        recipe.training, recipe.training.techniques, recipe.model, {}, source, folder / "a", folder / "checkpoint"
    )


def train(order: TrainingJob, listen: Callable[[Event], None] = lambda _: None) -> TrainingResult | Failed:
    with Workers(order.folder.parent / "log", None, listen) as workers:
        task = Task("train", training.train, (order,), ConversionError, environment=training.ENVIRONMENT)
        (outcome,) = workers.run_all([task], jobs=1)
    return outcome if isinstance(outcome, Failed) else outcome.value


def weights(trained: TrainingResult | Failed) -> bytes:
    """All variables of the model that was trained, as TensorFlow saves them."""
    assert isinstance(trained, TrainingResult), trained
    assert trained.quantized is not None
    return (trained.quantized / "variables/variables.data-00000-of-00001").read_bytes()


def killing(note: str) -> Callable[[Event], None]:
    """A listener that ends the worker with kill -9 when it tells of that epoch."""

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.note.startswith(note):
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)

    return listen


@pytest.mark.parametrize(("techniques", "during"), [("quantize", "quantize"), ("prune cluster quantize", "cluster")])
def test_interrupted_training_ends_as_if_it_had_not_been(
    recipes: Recipes, tmp_path: Path, techniques: str, during: str
) -> None:
    order = order_for(recipes, tmp_path, techniques)
    undisturbed = train(replace(order, checkpoints=tmp_path / "undisturbed"))
    killed = train(order, killing(f"{during} epoch"))
    assert isinstance(killed, Failed)
    assert "the worker process was killed (SIGKILL)" in str(killed.error)
    resumed = train(replace(order, folder=tmp_path / "b"))
    assert isinstance(resumed, TrainingResult)
    done = {phase.technique: phase.resumed_after for phase in resumed.phases}
    assert 0 < done[during] < EPOCHS
    assert all(epochs in (0, EPOCHS) for technique, epochs in done.items() if technique != during)
    assert weights(resumed) == weights(undisturbed)


def test_two_runs_yield_the_same_weights_and_another_seed_does_not(recipes: Recipes, tmp_path: Path) -> None:
    order = order_for(recipes, tmp_path, "quantize", epochs=2)
    one, other = (
        train(replace(order, folder=tmp_path / name, checkpoints=tmp_path / f"{name}-points")) for name in "ab"
    )
    assert weights(one) == weights(other)
    seeded = order.training.model_copy(update={"seed": 4})
    changed = train(replace(order, training=seeded, folder=tmp_path / "c", checkpoints=tmp_path / "c-points"))
    assert weights(changed) != weights(one)


def test_a_checkpoint_of_other_settings_is_removed_and_not_used(recipes: Recipes, tmp_path: Path) -> None:
    order = order_for(recipes, tmp_path, "quantize", epochs=1)
    train(order)
    (before,) = order.checkpoints.iterdir()
    slower = order.training.model_copy(update={"learning_rate": 0.005})
    again = train(replace(order, training=slower, folder=tmp_path / "b"))
    assert isinstance(again, TrainingResult)
    assert [phase.resumed_after for phase in again.phases] == [0]
    (after,) = order.checkpoints.iterdir()
    assert after != before
