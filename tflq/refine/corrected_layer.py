"""The constants of one layer after correction."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tflq.refine.gptq import RoundedWeights, nearest_steps
from tflq.refine.weighted_ops import Layer, WeightGranularity


@dataclass(frozen=True)
class CorrectedLayer:
    """The constants of a layer after correction."""

    layer: Layer
    granularity: WeightGranularity
    bias: np.ndarray | None = field(repr=False)
    """float64 [outputs]; None if the layer has no bias."""
    corrected_weights: RoundedWeights | None = field(default=None, repr=False)
    """The weights after correction; None if they are only rounded to nearest."""
    shift: float = 0.0
    """The largest change of a bias, in units of the output."""
    error: float = 1.0
    """The mean squared error that rounded weights add to the output, in units of that of rounding to nearest."""

    @staticmethod
    def uncorrected(layer: Layer, granularity: WeightGranularity) -> CorrectedLayer:
        """Return the layer with its weights rounded to nearest, and its own bias."""
        bias = None if layer.bias is None else np.asarray(layer.bias.data, np.float64)
        return CorrectedLayer(layer, granularity, bias)

    @cached_property
    def rounded(self) -> RoundedWeights:
        """The weights after correction, or rounded to nearest."""
        if self.corrected_weights is not None:
            return self.corrected_weights
        weights = self.layer.as_matrices(np.asarray(self.layer.weights.data))
        scales = self.granularity.scales(self.layer, weights)
        return RoundedWeights(nearest_steps(weights, scales), scales)

    @property
    def weights(self) -> np.ndarray:
        """The weights in the shape of the tensor, float64."""
        return self.layer.as_tensor(self.rounded.matrices)

    @property
    def steps(self) -> np.ndarray:
        """The integers of the weights, int8 in the shape of the tensor."""
        return self.layer.as_tensor(self.rounded.integers)
