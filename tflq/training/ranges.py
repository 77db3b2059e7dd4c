"""The activation ranges at the start of quantization-aware training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tflq.training.fit import TrainingSetup

RANGES = ("_min:0", "_max:0")
"""The suffixes of the names of range variables."""


def start_from_data(model: Any, setup: TrainingSetup) -> None:
    """Set the ranges to the mean minimum and maximum of a few batches.

    tfmot starts with −6 and 6 and changes them by a thousandth of the difference per step. So the ranges would not fit
    the data after a short training.
    """
    saved = [(variable, variable.numpy()) for variable in model.variables if not variable.name.endswith(RANGES)]
    for number, arrays in enumerate(setup.first_batches()):
        with _decay(number / (number + 1)):
            model(arrays, training=True)
    for variable, value in saved:  # means of batch normalization, and others that a step changes
        variable.assign(np.asarray(value))


@contextmanager
def _decay(decay: float) -> Iterator[None]:
    """Set the decay of tfmot's moving averages, the share of the old value that each step keeps."""
    from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

    original = quant_ops.MovingAvgQuantize
    quant_ops.MovingAvgQuantize = lambda *tensors, **options: original(*tensors, **(options | {"ema_decay": decay}))
    try:
        yield
    finally:
        quant_ops.MovingAvgQuantize = original
