"""The epochs of one technique: seeded, stopped when validation says so, and kept after each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflq.errors import ConversionError
from tflq.training.checkpoint import Checkpoint
from tflq.training.data import LABEL, Examples
from tflq.training.outcome import Epoch, Phase
from tflq.training.schema import CROSS_ENTROPIES, Technique, Training
from tflq.training.techniques import Wrapped

METRICS = {
    "sparse_categorical_crossentropy": "sparse_categorical_accuracy",
    "categorical_crossentropy": "categorical_accuracy",
    "binary_crossentropy": "binary_accuracy",
}
OTHER_METRIC = "mean_absolute_error"
Tell = Callable[[int, str], None]
"""Called with the steps done of this technique, and what its last epoch was like."""


@dataclass(frozen=True)
class TrainingSetup:
    """What is learned from, and how."""

    training: Training
    samples: Examples
    validation: Examples | None
    inputs: tuple[str, ...]
    """In the order of the model's."""
    from_logits: bool | None

    @property
    def metric(self) -> str:
        return METRICS.get(self.training.loss, OTHER_METRIC)

    @property
    def steps(self) -> int:
        """In one epoch."""
        return math.ceil(self.samples.stored.count / self.training.batch_size)


def fit(wrapped: Wrapped, technique: Technique, setup: TrainingSetup, checkpoint: Checkpoint, tell: Tell) -> Phase:
    """Train the wrapped model from its last whole epoch on; it is left as it was after the best."""
    model, training = wrapped.model, setup.training
    _compile(model, setup)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    epochs = checkpoint.epochs()
    resumed_after = len(epochs)
    if epochs:
        checkpoint.restore(len(epochs), variables)
    while not _is_done(epochs, wrapped.settled, training):
        seed(model, [training.seed, len(epochs)])
        epochs.append(_epoch(wrapped, setup, epochs, tell))
        _refuse_nonsense(epochs, technique)
        checkpoint.save(epochs, _best(epochs, wrapped.settled), variables)
    tell(training.epochs * setup.steps, _note(epochs, setup.metric))
    kept = _best(epochs, wrapped.settled)
    checkpoint.restore(kept, variables)
    return Phase(technique, tuple(epochs), kept, resumed_after)


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


def _is_done(epochs: Sequence[Epoch], settled: int, training: Training) -> bool:
    if len(epochs) >= training.epochs:
        return True
    if training.validation is None or len(epochs) < settled:
        return False
    return len(epochs) - _best(epochs, settled) >= training.validation.patience


def _best(epochs: Sequence[Epoch], settled: int) -> int:
    """The number of the epoch with the lowest validation loss of those that may be kept; without one, the last."""
    losses = [epoch.validation_loss for epoch in epochs[settled - 1 :]]
    known = [loss for loss in losses if loss is not None]
    return settled + losses.index(min(known)) if known else len(epochs)


def seed(model: Any, seeds: Sequence[int]) -> None:
    """Begin the epoch with chance of its own, so that it does not depend on what ran before in this process."""
    import tf_keras

    state = np.random.SeedSequence(list(seeds)).generate_state(1)[0]
    tf_keras.utils.set_random_seed(int(state))
    layers = [part for part in model.submodules if isinstance(part, tf_keras.__internal__.layers.BaseRandomLayer)]
    for place, layer in enumerate(layers):
        if layer.built:  # else it has no generator yet, and never asks for one
            layer._random_generator._generator.reset_from_seed(int(state) + place)


def _epoch(wrapped: Wrapped, setup: TrainingSetup, epochs: Sequence[Epoch], tell: Tell) -> Epoch:
    import tf_keras

    begin, training = time.monotonic(), setup.training
    done, note = len(epochs) * setup.steps, _note(epochs, setup.metric)
    progress = tf_keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, _: tell(done + batch + 1, note))
    batches = _dataset(setup.samples, setup, [training.seed, len(epochs)])
    history = wrapped.model.fit(batches, verbose=0, callbacks=[*wrapped.callbacks, progress]).history
    validated = _validated(wrapped.model, setup)
    return Epoch(history["loss"][0], history[setup.metric][0], *validated, time.monotonic() - begin)


def _validated(model: Any, setup: TrainingSetup) -> tuple[float | None, float | None]:
    """The loss and the metric."""
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


def _refuse_nonsense(epochs: Sequence[Epoch], technique: Technique) -> None:
    if not math.isfinite(epochs[-1].loss):
        raise ConversionError(
            f"training ({technique}): the loss became {epochs[-1].loss} in epoch {len(epochs)}; lower"
            " training.learning_rate, and see that the loss fits the labels"
        )


def _dataset(examples: Examples, setup: TrainingSetup, seeds: Sequence[int] | None) -> Any:
    import tensorflow as tf

    def batches() -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
        for arrays in examples.batches(setup.training.batch_size, seeds):
            yield tuple(arrays[name] for name in setup.inputs), arrays[LABEL]

    specs = {name: tf.TensorSpec((None, *shape), dtype) for name, (dtype, shape) in examples.stored.columns.items()}
    signature = (tuple(specs[name] for name in setup.inputs), specs[LABEL])
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(1)
