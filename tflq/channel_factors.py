"""The factors of channels in cross-layer equalization (Nagel et al. 2019, arXiv:1906.04721, section 4.1).

The paper derives them from the ranges of weights. Here they come from the ranges of activations, since all channels of
an activation share one scale.
"""

from __future__ import annotations

import numpy as np

EQUALIZATION_STRENGTH = 0.75
"""The exponent of the ratio of sizes; 1 would make all channels equal, and clip channels that are rarely large."""
MAX_FACTOR = 32.0
"""The largest factor of a channel."""
VALUES_PER_GAIN = 4
"""The number of values that must have been observed for each unit of a channel's factor.

A channel with few observed values may be larger on other data. Such a channel would widen the range of all channels.
"""
_LEAST_SIZE = 1e-6
"""The size, as a part of the largest one, that a channel counts as at least."""


def channel_factors(size: np.ndarray, count: np.ndarray) -> np.ndarray | None:
    """Return the factors of the channels of an activation, [channels], from 1 to `MAX_FACTOR`.

    `size` is the largest magnitude of each channel, and `count` the number of values that were observed of it. The
    result is None if all sizes are 0 or one is not finite.
    """
    largest = float(size.max())
    if not 0 < largest < np.inf:
        return None
    ratio = largest / floored(size)
    factors: np.ndarray = np.minimum(ratio**EQUALIZATION_STRENGTH, np.clip(count / VALUES_PER_GAIN, 1, MAX_FACTOR))
    return factors


def floored(size: np.ndarray) -> np.ndarray:
    """Return the sizes of the channels, [channels], where a channel that is close to 0 counts as a little larger."""
    raised: np.ndarray = np.maximum(size, size.max() * _LEAST_SIZE)
    return raised
