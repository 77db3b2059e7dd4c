"""Train the float model. This code runs in a worker of its own, in which `tf.keras` is Keras 2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from tflq import cache
from tflq.errors import SourceError, TflqError
from tflq.inputs.schema import Input
from tflq.sources.prepared import PreparedSource
from tflq.sources.schema import Model
from tflq.training import checkpoint, preparation, ranges, source, techniques
from tflq.training.checkpoint import Checkpoint
from tflq.training.data import LABEL, DataRequest, Examples, read_examples
from tflq.training.equalization import equalized
from tflq.training.fit import TrainingSetup, fit, seed
from tflq.training.outcome import Phase, TrainingResult
from tflq.training.schema import CROSS_ENTROPIES, Technique, Training
from tflq.training.source import Trainable
from tflq.worker import ProgressCallback

ENVIRONMENT = {"TF_USE_LEGACY_KERAS": "1"}
"""The environment of the worker. TensorFlow Model Optimization does not support Keras 3."""
PROBE_SAMPLES = 8
"""The number of samples on which the layers are compared with the source."""


@dataclass(frozen=True)
class TrainingJob:
    """A model, the techniques to train it with, and the folders to write to."""

    training: Training
    techniques: tuple[Technique, ...]
    """The techniques that variants need, in their order."""
    model: Model
    inputs: Mapping[str, Input]
    source: PreparedSource
    folder: Path
    """The folder for the trained models and the samples."""
    checkpoints: Path
    """The folder for checkpoints. It stays after an interrupted run."""
    makes_floating: bool = False
    """Whether a variant needs the pruned or clustered model, so that it is also made if `quantize` fails."""


def train(report: ProgressCallback, job: TrainingJob) -> TrainingResult:
    """Train with one technique after the other. Each starts from the result of the one before.

    Raise SourceError if the model cannot be trained, and RecipeError if `skip_layers` matches no layer. Raise
    DatasetError if samples or labels do not fit the model, and ConversionError if training fails.
    """
    _make_repeatable(job.training)
    samples = _read_section(report, job, "training")
    validation = _read_section(report, job, "training.validation") if job.training.validation else None
    probe = {name: np.array(array[:PROBE_SAMPLES]) for name, array in samples.stored.arrays().items() if name != LABEL}
    trainable = source.load(job.model, job.source, probe)
    from_logits = _from_logits(job.training, trainable, probe)
    setup = TrainingSetup(job.training, samples, validation, trainable.inputs, from_logits)
    skipped = techniques.skipped_layers(trainable.model, job.training)
    refused = preparation.refused_techniques(trainable, job.training, job.techniques, job.source.inputs)
    course = _phases(report, _without_refused(job, refused), trainable, setup)
    exported = course.exported
    return TrainingResult(
        floating=exported.get("cluster", exported.get("prune")),
        quantized=exported.get("quantize"),
        phases=tuple(course.phases),
        samples=samples.stored.count,
        total=samples.total,
        metric=setup.metric,
        from_logits=from_logits,
        skipped=skipped,
        left_in_float=course.left_in_float,
        unchanged_kernels=techniques.unchanged_kernels(trainable.model, job.training, job.techniques),
        error=course.error or refused.get("quantize"),
    )


def _without_refused(job: TrainingJob, refused: Mapping[Technique, SourceError]) -> TrainingJob:
    """Return the job without a refused `quantize`. Raise the error if the job then makes nothing that is needed."""
    if not refused:
        return job
    others = tuple(technique for technique in job.techniques if technique != "quantize")
    if set(refused) != {"quantize"} or not others or not job.makes_floating:
        raise next(iter(refused.values()))
    return replace(job, techniques=others)


@dataclass
class _Course:
    """The results of the techniques so far."""

    exported: dict[Technique, Path] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    left_in_float: tuple[str, ...] = ()
    error: TflqError | None = None


def _phases(report: ProgressCallback, job: TrainingJob, trainable: Trainable, setup: TrainingSetup) -> _Course:
    """Return the SavedModel after each technique, and the course of each."""
    folder = checkpoint.folder_for(job.checkpoints, _key(job, setup))
    steps = setup.steps * job.training.epochs
    course, model = _Course(), trainable.model
    for index, technique in enumerate(job.techniques):
        seed(model, [job.training.seed, index])
        on_step = partial(_report_step, report, technique, (index * steps, len(job.techniques) * steps))
        try:
            if technique == "quantize" and "cluster" not in job.techniques:  # it would undo the clusters
                model = equalized(
                    model, setup.first_batches(), techniques.skipped_layers(trainable.model, job.training)
                )
            wrapped = techniques.wrap(technique, model, job.training, steps)
            if technique == "quantize":
                ranges.start_from_data(wrapped.model, setup)
                course.left_in_float = wrapped.left_in_float
            course.phases.append(fit(wrapped, technique, setup, Checkpoint(folder / technique), on_step))
            model = wrapped.unwrap(wrapped.model)
        except TflqError as error:
            if technique != "quantize" or not job.makes_floating or not course.exported:
                raise
            course.error = error
            return course
        course.exported[technique] = job.folder / technique
        preparation.export(trainable, model, job.source.inputs, job.folder / technique)
    return course


def _report_step(report: ProgressCallback, technique: Technique, offset: tuple[int, int], done: int, note: str) -> None:
    before, total = offset
    report(before + done, total, f"{technique} {note}".strip())


def _make_repeatable(training: Training) -> None:
    import tensorflow as tf
    import tf_keras

    tf_keras.backend.experimental.enable_tf_random_generator()  # its state can be set for each epoch
    tf_keras.utils.set_random_seed(training.seed % 2**32)
    tf.config.experimental.enable_op_determinism()


def _read_section(report: ProgressCallback, job: TrainingJob, section: str) -> Examples:
    training, validation = job.training, job.training.validation
    source_section = training if section == "training" or validation is None else validation
    dataset, samples = source_section.dataset, source_section.samples
    request = DataRequest(section, dataset, samples, training.seed, training.label, training.loss, job.inputs)
    return read_examples(report, request, job.source.inputs, job.source.outputs[0], job.folder / section)


def _key(job: TrainingJob, setup: TrainingSetup) -> str:
    """Return the hash of everything that affects training. A checkpoint is used only under the same key."""
    plain = job.training.model_dump(mode="json", exclude={"dataset": True, "validation": {"dataset"}})
    data = [examples.contents() for examples in (setup.samples, setup.validation) if examples]
    settings = json.dumps([plain, job.techniques, setup.inputs])
    return cache.digest(cache.contents(job.model.path), settings, *data, *cache.versions(trains=True).values())


def _from_logits(training: Training, trainable: Trainable, probe: Mapping[str, np.ndarray]) -> bool | None:
    """Return whether the model's outputs are logits; None if the loss is not a cross-entropy."""
    if training.loss not in CROSS_ENTROPIES:
        return None
    if training.from_logits != "auto":
        return training.from_logits
    outputs = trainable.model([probe[name] for name in trainable.inputs], training=False).numpy()
    are_probabilities = bool((outputs >= 0).all() and (outputs <= 1).all())
    is_binary = training.loss == "binary_crossentropy"
    return not (are_probabilities and (is_binary or np.allclose(outputs.sum(-1), 1, atol=1e-3)))
