"""Bias correction (Nagel et al. 2019, arXiv:1906.04721, section 4.2).

1. Run calibration samples through the float32 model, and take the expected input E[x] of each layer.
2. Round the weights W to W̃; the quantization error of the weights is ε = W̃ − W.
3. The biased error of the layer's output is E[ỹ] − E[y] = ε E[x].
4. Subtract ε E[x] from the layer's bias, so that the expected output stays the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tflq.refine.corrected_layer import CorrectedLayer
from tflq.refine.correction import LayerwiseCorrection
from tflq.refine.fitted_layers import FittedValues


def _with_corrected_bias(corrected: CorrectedLayer, values: FittedValues) -> CorrectedLayer:
    """Return the layer with its bias corrected, if it has one and its mean input is known and finite."""
    layer, mean = corrected.layer, values.mean(corrected.layer)
    if corrected.bias is None or mean is None or not np.isfinite(mean).all():
        return corrected
    weights = layer.as_matrices(np.asarray(layer.weights.data, np.float64))
    shift = layer.products(weights - corrected.rounded.matrices, mean)
    largest = float(np.abs(shift).max(initial=0))
    return replace(corrected, bias=corrected.bias + shift, corrected_weights=corrected.rounded, shift=largest)


BIAS_CORRECTION = LayerwiseCorrection(
    key="bias_correction", in_words="bias correction", changes=("bias",), apply=_with_corrected_bias
)
