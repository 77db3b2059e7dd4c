"""What each call counts in the histograms of each activation."""

from __future__ import annotations

import numpy as np

from tflq.calibrate.observe import Observation
from tflq.calibrate.schema import Counting

FEW = 8
"""Calls that tell what clipping would do, where the recipe does not ask for any."""
_UNIT, _HEAVIEST = 1 << 20, 1 << 24


def sample_weights(observation: Observation, counting: Counting) -> dict[int, np.ndarray]:
    """For each call that counts, int64 [tensors].

    `weighted` is what minimizes the error beside the peak of each call, as the peak signal-to-noise ratio does: one
    call with outliers then weighs little beside many without. Weights are whole, so that sums depend on no order.
    """
    calls, tensors = observation.minima.shape
    if counting != "weighted":
        chosen = range(calls) if counting == "all" else np.unique(np.linspace(0, calls - 1, FEW).astype(int)).tolist()
        return dict.fromkeys(chosen, np.ones(tensors, np.int64))
    peaks = np.maximum(np.abs(observation.minima), np.abs(observation.maxima)).astype(np.float64)
    relative = np.median(peaks, axis=0) / np.maximum(peaks, np.finfo(np.float32).tiny)
    whole = np.clip(np.rint(_UNIT * np.square(np.minimum(relative, 1e3))), 1, _HEAVIEST).astype(np.int64)
    return dict(enumerate(whole))
