"""The constants of one layer after correction."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tflq.refine.gptq import RoundedWeights, nearest_steps
from tflq.refine.weighted_ops import Layer, WeightGranularity


@dataclass(frozen=True)
class CorrectedLayer:
    """The constants of a layer after correction."""

    layer: Layer
    integers: np.ndarray = field(repr=False)
    """The weights in units of their scale, int8 [groups, outputs, inputs]"""
    scales: np.ndarray = field(repr=False)
    """The scale of each output's weights, float64 [groups, outputs]"""
    bias: np.ndarray | None = field(repr=False)
    """float64 [outputs]; None if the layer has no bias."""
    shift: float = 0.0
    """The largest change of a bias, in units of the output."""
    error: float = 1.0
    """The mean squared error that rounded weights add to the output, in units of that of rounding to nearest."""

    @staticmethod
    def uncorrected(layer: Layer, granularity: WeightGranularity) -> CorrectedLayer:
        """Return the layer with its weights rounded to nearest, and its own bias."""
        weights = layer.as_matrices(np.asarray(layer.weights.data))
        scales = granularity.scales(layer, weights)
        bias = None if layer.bias is None else np.asarray(layer.bias.data, np.float64)
        return CorrectedLayer(layer, nearest_steps(weights, scales), scales, bias)

    @property
    def matrices(self) -> np.ndarray:
        """The weights as multiples of their scale, float64 [groups, outputs, inputs]"""
        return RoundedWeights(self.integers, self.scales).matrices

    @property
    def weights(self) -> np.ndarray:
        """The weights in the shape of the tensor, float64."""
        return self.layer.as_tensor(self.matrices)

    @property
    def steps(self) -> np.ndarray:
        """The integers of the weights, int8 in the shape of the tensor."""
        return self.layer.as_tensor(self.integers)
