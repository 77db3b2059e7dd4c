"""Run the epochs of one technique, with seeds, early stopping and a checkpoint after each epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tflq.errors import ConversionError
from tflq.training.checkpoint import Checkpoint
from tflq.training.data import LABEL, Examples
from tflq.training.outcome import Epoch, Phase
from tflq.training.schema import CROSS_ENTROPIES, Technique, Training
from tflq.training.techniques import WrappedModel

METRICS = {
    "sparse_categorical_crossentropy": "sparse_categorical_accuracy",
    "categorical_crossentropy": "categorical_accuracy",
    "binary_crossentropy": "binary_accuracy",
}
OTHER_METRIC = "mean_absolute_error"
OBSERVED_BATCHES = 20
StepCallback = Callable[[int, str], None]
"""A function of the number of steps of this technique that are done, and of a note on its last epoch."""


@dataclass(frozen=True)
class TrainingSetup:
    """The options and the data of training."""

    training: Training
    samples: Examples
    validation: Examples | None
    inputs: tuple[str, ...]
    """The names of the inputs, in the order of the model."""
    from_logits: bool | None
    """Whether the cross-entropy takes logits; None for other losses."""

    @property
    def metric(self) -> str:
        return METRICS.get(self.training.loss, OTHER_METRIC)

    @property
    def steps(self) -> int:
        """The number of steps in one epoch."""
        return math.ceil(self.samples.stored.count / self.training.batch_size)

    def first_batches(self) -> Iterator[list[np.ndarray]]:
        """Yield the inputs of the first batches, which show the ranges of activations before training."""
        batches = self.samples.batches(self.training.batch_size, [self.training.seed])
        for arrays in islice(batches, OBSERVED_BATCHES):
            yield [arrays[name] for name in self.inputs]


def fit(
    wrapped: WrappedModel, technique: Technique, setup: TrainingSetup, checkpoint: Checkpoint, report: StepCallback
) -> Phase:
    """Train the wrapped model from its last complete epoch on. Afterwards it has the weights of the best epoch.

    Raise ConversionError if the loss is not finite.
    """
    model, training = wrapped.model, setup.training
    _compile(model, setup)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    epochs = checkpoint.epochs()
    resumed_after = len(epochs)
    if epochs:
        checkpoint.restore(len(epochs), variables)
    while not _is_done(epochs, wrapped.first_usable_epoch, training):
        seed(model, [training.seed, len(epochs)])
        epochs.append(_epoch(wrapped, setup, epochs, report))
        _refuse_infinite_loss(epochs, technique)
        checkpoint.save(epochs, _best(epochs, wrapped.first_usable_epoch), variables)
    report(training.epochs * setup.steps, _note(epochs, setup.metric))
    best = _best(epochs, wrapped.first_usable_epoch)
    checkpoint.restore(best, variables)
    return Phase(technique, tuple(epochs), best, resumed_after)


def _compile(model: Any, setup: TrainingSetup) -> None:
    import tf_keras

    loss = getattr(tf_keras.losses, "".join(part.title() for part in setup.training.loss.split("_")))
    is_cross_entropy = setup.training.loss in CROSS_ENTROPIES
    metric = _metric(setup)
    model.compile(
        tf_keras.optimizers.Adam(setup.training.learning_rate),
        loss(from_logits=bool(setup.from_logits)) if is_cross_entropy else loss(),
        metrics=[metric],
    )


def _metric(setup: TrainingSetup) -> Any:
    import tf_keras

    if setup.training.loss == "binary_crossentropy":
        return tf_keras.metrics.BinaryAccuracy(setup.metric, threshold=0.0 if setup.from_logits else 0.5)
    return setup.metric


def _is_done(epochs: Sequence[Epoch], first_usable: int, training: Training) -> bool:
    if len(epochs) >= training.epochs:
        return True
    if training.validation is None or len(epochs) < first_usable:
        return False
    return len(epochs) - _best(epochs, first_usable) >= training.validation.patience


def _best(epochs: Sequence[Epoch], first_usable: int) -> int:
    """Return the number of the usable epoch with the lowest validation loss. Without validation, return the last."""
    losses = [epoch.validation_loss for epoch in epochs[first_usable - 1 :]]
    measured = [loss for loss in losses if loss is not None]
    return first_usable + losses.index(min(measured)) if measured else len(epochs)


def seed(model: Any, seeds: Sequence[int]) -> None:
    """Set all random states from the seeds, so that an epoch does not depend on earlier work in this process."""
    import tf_keras

    state = np.random.SeedSequence(list(seeds)).generate_state(1)[0]
    tf_keras.utils.set_random_seed(int(state))
    random_layer = tf_keras.__internal__.layers.BaseRandomLayer
    layers = [module for module in model.submodules if isinstance(module, random_layer)]
    for index, layer in enumerate(layers):
        if layer.built:  # a layer that is not built has no generator and does not need one
            layer._random_generator._generator.reset_from_seed(int(state) + index)


def _epoch(wrapped: WrappedModel, setup: TrainingSetup, epochs: Sequence[Epoch], report: StepCallback) -> Epoch:
    import tf_keras

    begin, training = time.monotonic(), setup.training
    done, note = len(epochs) * setup.steps, _note(epochs, setup.metric)
    progress = tf_keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, _: report(done + batch + 1, note))
    batches = _dataset(setup.samples, setup, [training.seed, len(epochs)])
    history = wrapped.model.fit(batches, verbose=0, callbacks=[*wrapped.callbacks, progress]).history
    validation = _validation(wrapped.model, setup)
    return Epoch(history["loss"][0], history[setup.metric][0], *validation, time.monotonic() - begin)


def _validation(model: Any, setup: TrainingSetup) -> tuple[float | None, float | None]:
    """Return the loss and the metric on the validation samples, or None for both without them."""
    if setup.validation is None:
        return None, None
    loss, metric = model.evaluate(_dataset(setup.validation, setup, None), verbose=0)
    return loss, metric


def _note(epochs: Sequence[Epoch], metric: str) -> str:
    if not epochs:
        return ""
    last = epochs[-1]
    text = f"epoch {len(epochs)}: loss {last.loss:.4f}, {metric.replace('_', ' ')} {last.metric:.4f}"
    return text if last.validation_loss is None else f"{text}, validation loss {last.validation_loss:.4f}"


def _refuse_infinite_loss(epochs: Sequence[Epoch], technique: Technique) -> None:
    if not math.isfinite(epochs[-1].loss):
        raise ConversionError(
            f"training ({technique}): the loss became {epochs[-1].loss} in epoch {len(epochs)}; lower"
            " training.learning_rate, and check that the loss fits the labels"
        )


def _dataset(examples: Examples, setup: TrainingSetup, seeds: Sequence[int] | None) -> Any:
    import tensorflow as tf

    def batches() -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
        for arrays in examples.batches(setup.training.batch_size, seeds):
            yield tuple(arrays[name] for name in setup.inputs), arrays[LABEL]

    specs = {name: tf.TensorSpec((None, *shape), dtype) for name, (dtype, shape) in examples.stored.columns.items()}
    signature = (tuple(specs[name] for name in setup.inputs), specs[LABEL])
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(1)
