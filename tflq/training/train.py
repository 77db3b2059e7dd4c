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
from tflq.training.data import LABEL, DataRequest, Examples, gather
from tflq.training.fit import TrainingSetup, fit, seed
from tflq.training.outcome import Phase, Trained
from tflq.training.schema import CROSS_ENTROPIES, Technique, Training
from tflq.training.source import Trainable
from tflq.worker import ProgressCallback

ENVIRONMENT = {"TF_USE_LEGACY_KERAS": "1"}
"""Of the process: TensorFlow Model Optimization knows no Keras 3."""
PROBED = 8
"""Samples that show whether the layers compute what the source does."""


@dataclass(frozen=True)
class TrainingJob:
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


def train(report: ProgressCallback, job: TrainingJob) -> Trained:
    """Train with one technique after the other, each on what the one before it left.

    Raises SourceError where there are no layers to train, DatasetError where samples or labels do not fit them.
    """
    _make_repeatable(job.training)
    samples = _gather(report, job, "training")
    validation = _gather(report, job, "training.validation") if job.training.validation else None
    probe = {name: np.array(array[:PROBED]) for name, array in samples.stored.arrays().items() if name != LABEL}
    trainable = source.load(job.model, job.source, probe)
    from_logits = _from_logits(job.training, trainable, probe)
    setup = TrainingSetup(job.training, samples, validation, trainable.inputs, from_logits)
    skipped = techniques.skipped(trainable.model, job.training)
    exported, phases = _phases(report, job, trainable, setup)
    return Trained(
        floating=exported.get("cluster", exported.get("prune")),
        quantized=exported.get("quantize"),
        phases=tuple(phases),
        samples=samples.stored.count,
        total=samples.total,
        metric=setup.metric,
        from_logits=from_logits,
        skipped=skipped,
    )


def _phases(
    report: ProgressCallback, job: TrainingJob, trainable: Trainable, setup: TrainingSetup
) -> tuple[dict[Technique, Path], list[Phase]]:
    """What each technique left, as a SavedModel, and how it went."""
    folder = checkpoint.folder_for(job.checkpoints, _key(job, setup))
    steps = setup.steps * job.training.epochs
    exported: dict[Technique, Path] = {}
    phases: list[Phase] = []
    model = trainable.model
    for place, technique in enumerate(job.techniques):
        seed(model, [job.training.seed, place])
        wrapped = techniques.wrap(technique, model, job.training, steps)
        if technique == "quantize":
            ranges.start_from_data(wrapped.model, setup)
        tell = partial(_tell, report, technique, (place * steps, len(job.techniques) * steps))
        phases.append(fit(wrapped, technique, setup, Checkpoint(folder / technique), tell))
        model = wrapped.finished(wrapped.model)
        exported[technique] = _export(trainable, model, job, technique)
    return exported, phases


def _tell(report: ProgressCallback, technique: Technique, offset: tuple[int, int], done: int, note: str) -> None:
    before, total = offset
    report(before + done, total, f"{technique} {note}".strip())


def _make_repeatable(training: Training) -> None:
    import tensorflow as tf
    import tf_keras

    tf_keras.backend.experimental.enable_tf_random_generator()  # whose state can be set anew for each epoch
    tf_keras.utils.set_random_seed(training.seed % 2**32)
    tf.config.experimental.enable_op_determinism()


def _gather(report: ProgressCallback, job: TrainingJob, section: str) -> Examples:
    training, validation = job.training, job.training.validation
    of = training if section == "training" or validation is None else validation
    wanted = DataRequest(section, of.dataset, of.samples, training.seed, training.label, training.loss, job.inputs)
    return gather(report, wanted, job.source.inputs, job.source.outputs[0], job.folder / section)


def _key(job: TrainingJob, setup: TrainingSetup) -> str:
    """Of all that decides how training goes, so that a checkpoint is of use to nothing else."""
    plain = job.training.model_dump(mode="json", exclude={"dataset": True, "validation": {"dataset"}})
    data = [one.contents() for one in (setup.samples, setup.validation) if one]
    settings = json.dumps([plain, job.techniques, setup.inputs])
    return cache.digest(cache.contents(job.model.path), settings, *data, *cache.versions(trains=True).values())


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


def _export(trainable: Trainable, model: Any, job: TrainingJob, technique: Technique) -> Path:
    """As a SavedModel with the signature of the source."""
    import tensorflow as tf

    folder = job.folder / technique
    specs = {spec.name: spec for spec in job.source.inputs}
    signature = [tf.TensorSpec(specs[name].shape, specs[name].dtype, name) for name in trainable.inputs]
    module = tf.Module()
    module.model = model
    serve = tf.function(
        lambda *arrays: {trainable.output: model(list(arrays), training=False)}, input_signature=signature
    )
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: serve})
    return folder
