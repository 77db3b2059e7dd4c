"""A float model to trained ones; runs in a worker of its own, in which `tf.keras` is Keras 2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tflq import cache
from tflq.inputs import Input
from tflq.sources import SIGNATURE, Keras, Prepared, SavedModel
from tflq.training import checkpoint, ranges, source, techniques
from tflq.training.checkpoint import Checkpoint
from tflq.training.data import LABEL, Stored, Wanted, gather
from tflq.training.fit import Lesson, fit, seed
from tflq.training.outcome import Phase, Trained
from tflq.training.recipe import CROSS_ENTROPIES, Technique, Training
from tflq.training.source import Trainable
from tflq.worker import Report

ENVIRONMENT = {"TF_USE_LEGACY_KERAS": "1"}
"""Of the process: TensorFlow Model Optimization knows no Keras 3."""
PROBED = 8
"""Samples that show whether the layers compute what the source does."""


@dataclass(frozen=True)
class Order:
    """What is to be trained."""

    training: Training
    techniques: tuple[Technique, ...]
    """Those whose outcome is asked for."""
    model: SavedModel | Keras
    inputs: Mapping[str, Input]
    source: Prepared
    folder: Path
    """Where the trained models and the samples go."""
    checkpoints: Path
    """What is left of a run that did not end; kept until somebody removes it."""


def train(report: Report, order: Order) -> Trained:
    """Train with one technique after the other, each on what the one before it left.

    Raises SourceError where there are no layers to train, DatasetError where samples or labels do not fit them.
    """
    _make_repeatable(order.training)
    samples = _gather(report, order, "training")
    validation = _gather(report, order, "training.validation") if order.training.validation else None
    probe = {name: np.array(array[:PROBED]) for name, array in samples.arrays().items() if name != LABEL}
    trainable = source.load(order.model, order.source, probe)
    from_logits = _from_logits(order.training, trainable, probe)
    lesson = Lesson(order.training, samples, validation, trainable.inputs, from_logits)
    skipped = techniques.skipped(trainable.model, order.training)
    exported, phases = _phases(report, order, trainable, lesson)
    return Trained(
        floating=exported.get("cluster", exported.get("prune")),
        quantized=exported.get("quantize"),
        phases=tuple(phases),
        samples=samples.count,
        total=samples.total,
        metric=lesson.metric,
        from_logits=from_logits,
        skipped=skipped,
    )


def _phases(
    report: Report, order: Order, trainable: Trainable, lesson: Lesson
) -> tuple[dict[Technique, Path], list[Phase]]:
    """What each technique left, as a SavedModel, and how it went."""
    folder = checkpoint.folder_for(order.checkpoints, _key(order, lesson))
    steps = lesson.steps * order.training.epochs
    exported: dict[Technique, Path] = {}
    phases: list[Phase] = []
    model = trainable.model
    for place, technique in enumerate(order.techniques):
        seed(model, [order.training.seed, place])
        wrapped = techniques.wrap(technique, model, order.training, steps)
        if technique == "quantize":
            ranges.start_from_data(wrapped.model, lesson)
        tell = partial(_tell, report, technique, (place * steps, len(order.techniques) * steps))
        phases.append(fit(wrapped, technique, lesson, Checkpoint(folder / technique), tell))
        model = wrapped.finished(wrapped.model)
        exported[technique] = _export(trainable, model, order, technique)
    return exported, phases


def _tell(report: Report, technique: Technique, offset: tuple[int, int], done: int, note: str) -> None:
    before, total = offset
    report(before + done, total, f"{technique} {note}".strip())


def _make_repeatable(training: Training) -> None:
    import tensorflow as tf
    import tf_keras

    tf_keras.backend.experimental.enable_tf_random_generator()  # whose state can be set anew for each epoch
    tf_keras.utils.set_random_seed(training.seed % 2**32)
    tf.config.experimental.enable_op_determinism()


def _gather(report: Report, order: Order, section: str) -> Stored:
    training, validation = order.training, order.training.validation
    of = training if section == "training" or validation is None else validation
    wanted = Wanted(section, of.dataset, of.samples, training.seed, training.label, training.loss, order.inputs)
    return gather(report, wanted, order.source.inputs, order.source.outputs[0], order.folder / section)


def _key(order: Order, lesson: Lesson) -> str:
    """Of all that decides how training goes, so that a checkpoint is of use to nothing else."""
    plain = order.training.model_dump(mode="json", exclude={"dataset": True, "validation": {"dataset"}})
    data = [stored.contents() for stored in (lesson.samples, lesson.validation) if stored]
    settings = json.dumps([plain, order.techniques, lesson.inputs])
    return cache.digest(cache.contents(order.model.path), settings, *data, *cache.versions(trains=True).values())


def _from_logits(training: Training, trainable: Trainable, probe: Mapping[str, np.ndarray]) -> bool | None:
    """Whether the model answers logits, which its cross-entropy must know; None where the loss does not ask."""
    if training.loss not in CROSS_ENTROPIES:
        return None
    if training.from_logits != "auto":
        return training.from_logits
    answers = trainable.model([probe[name] for name in trainable.inputs], training=False).numpy()
    are_shares = bool((answers >= 0).all() and (answers <= 1).all())
    is_binary = training.loss == "binary_crossentropy"
    return not (are_shares and (is_binary or np.allclose(answers.sum(-1), 1, atol=1e-3)))


def _export(trainable: Trainable, model: Any, order: Order, technique: Technique) -> Path:
    """As a SavedModel with the signature of the source."""
    import tensorflow as tf

    folder = order.folder / technique
    specs = {spec.name: spec for spec in order.source.inputs}
    signature = [tf.TensorSpec(specs[name].shape, specs[name].dtype, name) for name in trainable.inputs]
    module = tf.Module()
    module.model = model
    serve = tf.function(
        lambda *arrays: {trainable.output: model(list(arrays), training=False)}, input_signature=signature
    )
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: serve})
    return folder
