"""Rounding of weights as a correction: GPTQ for each layer of the float32 model. The arithmetic is in `gptq.py`."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from tflq.flatbuffer import mapped_content
from tflq.refine.corrected_layer import CorrectedLayer
from tflq.refine.correction import LayerFit, LayerwiseCorrection
from tflq.refine.fitted_layers import FittedValues, save
from tflq.refine.gptq import SCALE_FACTORS, RoundedWeights, gptq_round, round_to_nearest
from tflq.refine.input_statistics import covariance_rows, has_covariance
from tflq.refine.layer_statistics import parts_of
from tflq.refine.second_moments import SecondMoments
from tflq.refine.weighted_ops import Layer, WeightGranularity, layers
from tflq.worker import ProgressCallback

ROUNDING_PARTS = 4
"""The number of tasks for the weights of one file."""
WORK_OF_SMALL_LAYER = 1e9
"""The multiply-adds of a large layer that take as long as a small layer, which has many small steps."""
MAX_SEARCH_WORK = 5e7
"""The largest number of multiply-adds of rounding a layer for which several scales of each channel are tried.

Layers with few inputs gain most.
"""
STEPS, SCALES, ERROR = "steps", "scales", "error"
"""The kinds of fitted values: the integers of the weights, int8 [groups, outputs, inputs]; their scales, float64
[groups, outputs]; and the mean squared error that they add to the outputs, in units of that of weights rounded to
nearest."""


def fit_rounding(
    report: ProgressCallback,
    float32: Path,
    moments: SecondMoments,
    granularity: WeightGranularity,
    part: tuple[int, Path],
) -> Path:
    """Write the weights that GPTQ rounds, for one of ROUNDING_PARTS parts of the layers.

    Clustered weights are left out. If the granularity takes scales, so are layers too large for trying several scales:
    the first pass has rounded them, see `WeightGranularity.rounding_passes`. `moments` are those of this file. `part`
    is the number of the part, and the path to write to.
    """
    (number, target), content = part, mapped_content(float32)
    all_layers = [layer for layer in layers(content) if _is_rounded(layer, granularity)]
    chosen = parts_of(all_layers, ROUNDING_PARTS, _work)[number]
    steps, scales, errors = dict[int, np.ndarray](), dict[int, np.ndarray](), dict[int, np.ndarray]()
    for done, (layer, second_moment) in enumerate(zip(chosen, moments.of(chosen), strict=True), 1):
        if second_moment is not None:
            weights = layer.as_matrices(np.asarray(layer.weights.data, np.float64))
            rounded, error = round_layer(layer, weights, granularity, second_moment)
            index = layer.operator.index
            steps[index], scales[index], errors[index] = rounded.integers, rounded.scales, np.array(error)
        report(done, len(chosen))
    return save(target, {STEPS: steps, SCALES: scales, ERROR: errors})


def multiply_adds_of_fit(layer: Layer) -> float:
    """Return about how many multiply-adds the second moments and the rounding of a layer take."""
    width = layer.width if has_covariance(layer) else 0
    return float(covariance_rows(width)) * width**2 + float(width) ** 3


def _work(layer: Layer) -> float:
    """Return about how many multiply-adds the rounding of a layer takes, or would take in the same time."""
    factor, columns = layer.width**3 / 6, 2.5 * prod(layer.weights.shape) * layer.width
    return WORK_OF_SMALL_LAYER + (layer.groups * factor + columns if has_covariance(layer) else 0)


def round_layer(
    layer: Layer, weights: np.ndarray, granularity: WeightGranularity, second_moment: np.ndarray
) -> tuple[RoundedWeights, float]:
    """Return weights of the layer rounded by GPTQ, and their error; see ERROR.

    Shapes: weights [groups, outputs, inputs], second_moment [groups, inputs, inputs].
    """
    scales = granularity.scales(layer, weights)
    rounded = gptq_round(weights, scales, second_moment, SCALE_FACTORS if _tries_scales(layer, granularity) else (1.0,))
    before, after = (
        squared_error(each - weights, second_moment) for each in (round_to_nearest(weights, scales), rounded.matrices)
    )
    return rounded, after / before if before else 1.0


def _is_rounded(layer: Layer, granularity: WeightGranularity) -> bool:
    """Whether the pass with this granularity rounds the layer."""
    return not layer.is_clustered and (not granularity.takes_scales or _tries_scales(layer, granularity))


def _tries_scales(layer: Layer, granularity: WeightGranularity) -> bool:
    """Whether several scales of each channel are tried."""
    is_taken = granularity.takes_scales and granularity.is_per_channel(layer)
    return is_taken and prod(layer.weights.shape) * layer.width <= MAX_SEARCH_WORK


def squared_error(change: np.ndarray, second_moment: np.ndarray) -> float:
    """Return the mean squared error that a change of the weights adds to all outputs, in the unit of outputs squared.

    Shapes: change [groups, outputs, inputs], second_moment [groups, inputs, inputs].
    """
    change = change.astype(second_moment.dtype)
    return float(np.vdot(change @ second_moment, change))


def _with_rounded_weights(corrected: CorrectedLayer, values: FittedValues) -> CorrectedLayer:
    """Return the layer with the weights by GPTQ, if there are any for it."""
    index = corrected.layer.operator.index
    steps = values.of(STEPS).get(index)
    if steps is None:
        return corrected
    weights = RoundedWeights(steps, values.of(SCALES)[index])
    return replace(corrected, corrected_weights=weights, error=float(values.of(ERROR)[index]))


ROUNDING = LayerwiseCorrection(
    key="rounding",
    in_words="rounding",
    stage="round the weights of",
    compared_with=("bias_correction",),
    changes=("weights",),
    apply=_with_rounded_weights,
    layer_fit=LayerFit(ROUNDING_PARTS, fit_rounding),
)
