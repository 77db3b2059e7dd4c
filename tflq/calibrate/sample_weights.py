"""The weight of each call in the histogram of each activation."""

from __future__ import annotations

import numpy as np

from tflq.calibrate.observe import Observation
from tflq.calibrate.schema import Counting

CALLS_COUNTED_FOR_MINMAX = 8
"""The number of calls whose values are counted if the recipe asks for minmax. They show the effect of clipping."""
_WEIGHT_OF_MEDIAN, _MAX_WEIGHT = 1 << 20, 1 << 24
_MAX_RELATIVE_SCALE = 1e3


def sample_weights(observation: Observation, counting: Counting) -> dict[int, np.ndarray]:
    """Return for each call that is counted the weights of its activations, int64 [tensors].

    `weighted` divides each squared error by the squared peak of its call, as the peak signal-to-noise ratio does.
    A call with outliers then has little weight beside many calls without. The weights are whole numbers, so that sums
    do not depend on the order.
    """
    calls, tensors = observation.minima.shape
    if counting != "weighted":
        few = np.unique(np.linspace(0, calls - 1, CALLS_COUNTED_FOR_MINMAX).astype(int)).tolist()
        return dict.fromkeys(range(calls) if counting == "all" else few, np.ones(tensors, np.int64))
    peaks = np.maximum(np.abs(observation.minima), np.abs(observation.maxima)).astype(np.float64)
    relative = np.median(peaks, axis=0) / np.maximum(peaks, np.finfo(np.float32).tiny)
    weights = np.rint(_WEIGHT_OF_MEDIAN * np.square(np.minimum(relative, _MAX_RELATIVE_SCALE)))
    return dict(enumerate(np.clip(weights, 1, _MAX_WEIGHT).astype(np.int64)))
