"""The second moments of the inputs of layers, E[x xᵀ], from which rounding knows what each error of a weight costs.

They are taken once, from the float32 file before any correction. In a file whose channels were scaled, they follow from
the factors of the channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.refine.fitted_layers import FittedLayers, FittedValues
from tflq.refine.input_statistics import InputStatistics
from tflq.refine.weighted_ops import Layer

MOMENT = "moment"
"""The kind of values in files: the second moment of a layer's inputs, float32 [groups, inputs, inputs]."""
SHRINKAGE = 0.03
"""The part of the mean variance that is added to each variance if a covariance has as many rows as inputs.

It is inversely proportional to the number of rows.
"""


def second_moment_of(statistics: InputStatistics) -> np.ndarray | None:
    """Return the second moment of the inputs, E[x xᵀ], float32 [groups, inputs, inputs]; None if not known or finite.

    It is the Hessian of the paper of GPTQ. With the covariance in place of it, the error of the mean would be left to
    the bias. That is no better on unseen data, whose mean differs, and it needs a second fit for files without bias
    correction.

    The fewer rows there are for the number of inputs, the less the covariance says about unseen data. So it is shrunk
    towards independent inputs (Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4), by a fixed part in place of the
    estimated one.
    """
    covariance, mean = statistics.covariance, statistics.mean.astype(np.float32)
    if covariance is None or not np.isfinite(covariance).all():
        return None
    second_moment: np.ndarray = covariance + mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
    mean_variance = np.einsum("gii->gi", covariance).mean(1, keepdims=True)
    np.einsum("gii->gi", second_moment)[:] += SHRINKAGE * covariance.shape[1] / statistics.rows * mean_variance
    return second_moment


@dataclass(frozen=True)
class SecondMoments:
    """The second moments of the layers of one float32 file."""

    files: tuple[Path, ...]
    """The files of `fit_statistics`, from the file before its channels were scaled."""
    factors: tuple[Path, ...] = ()
    """The files of the factors of channels, in the order in which they were applied."""

    def of(self, chosen: Sequence[Layer]) -> list[np.ndarray | None]:
        """Return the second moment of the inputs of each layer, [groups, inputs, inputs]; None if it is not known."""
        scales = FittedLayers((), self.factors).load()
        return [self._of(layer, scales) for layer in chosen]

    def _of(self, layer: Layer, scales: FittedValues) -> np.ndarray | None:
        moment = self._stored(layer)
        if moment is None or not scales.factors:
            return moment
        factors = scales.scaled(np.ones(moment.shape[:2]), layer).astype(moment.dtype)
        scaled: np.ndarray = moment * factors[:, :, np.newaxis] * factors[:, np.newaxis, :]
        return scaled

    def _stored(self, layer: Layer) -> np.ndarray | None:
        name = f"{MOMENT} {layer.operator.index}"
        for file in self.files:
            with np.load(file, allow_pickle=False) as arrays:  # only the array that is asked for is read
                if name in arrays.files:
                    stored: np.ndarray = arrays[name]
                    return stored
        return None
