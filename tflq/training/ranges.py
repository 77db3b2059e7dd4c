"""The ranges of activations with which quantization-aware training begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tflq.training.fit import TrainingSetup

BATCHES = 20
RANGES = ("_min:0", "_max:0")
"""End the names of the variables that hold them."""


def start_from_data(model: Any, setup: TrainingSetup) -> None:
    """Set the ranges to the mean minimum and maximum of a few batches.

    tfmot begins with −6 and 6 and moves by a thousandth of the way with each step, so that a short training would end
    with ranges that have little to do with the data.
    """
    kept = [(variable, variable.numpy()) for variable in model.variables if not variable.name.endswith(RANGES)]
    batches = setup.samples.batches(setup.training.batch_size, [setup.training.seed])
    for number, arrays in zip(range(BATCHES), batches, strict=False):
        with _decay(number / (number + 1)):
            model([arrays[name] for name in setup.inputs], training=True)
    for variable, value in kept:  # the means of a batch normalization, and other things that a step changes
        variable.assign(np.asarray(value))


@contextmanager
def _decay(decay: float) -> Iterator[None]:
    """Let tfmot's moving averages keep that share of what they were."""
    from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

    original = quant_ops.MovingAvgQuantize
    quant_ops.MovingAvgQuantize = lambda *tensors, **options: original(*tensors, **(options | {"ema_decay": decay}))
    try:
        yield
    finally:
        quant_ops.MovingAvgQuantize = original
