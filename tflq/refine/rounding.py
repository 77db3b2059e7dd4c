"""Rounding of weights as a correction: GPTQ for each layer of the float32 model. The arithmetic is in `gptq.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from tflq.flatbuffer import edit, read
from tflq.refine.corrected_layer import CorrectedLayer
from tflq.refine.correction import FittingData, LayerFit, LayerwiseCorrection
from tflq.refine.fitted_layers import FittedValues
from tflq.refine.gptq import gptq_round, round_to_nearest
from tflq.refine.input_statistics import InputStatistics, covariance_rows, has_covariance, input_statistics
from tflq.refine.weighted_ops import Layer, WeightGranularity, layers
from tflq.worker import ProgressCallback

PARTS = 4
"""The number of tasks for the weights of one file."""
MAX_ROUNDING_CALLS = 48
"""The largest number of calls that GPTQ is fitted to; each has many positions."""
WORK_OF_SMALL_LAYER = 1e9
"""The multiply-adds of a large layer that take as long as a small layer, which has many small steps."""
STEPS, ERROR = "steps", "error"
"""The kinds of fitted values: the integers of the weights, int8 [groups, outputs, inputs]; and the mean squared error
that they add to the outputs, in units of that of weights rounded to nearest."""


def fit_rounding(
    report: ProgressCallback,
    float32: Path,
    data: FittingData,
    granularity: WeightGranularity,
    part: tuple[int, Path],
) -> Path:
    """Write the weights that GPTQ rounds, for one of PARTS parts of the layers. Clustered weights are left out.

    `data` holds the calibration samples, and the calls that are used. `part` is the number of the part, and the path to
    write to.
    """
    (number, target), content = part, float32.read_bytes()
    all_layers = [layer for layer in layers(read(content), edit.unpack(content)) if not layer.is_clustered]
    chosen = _parts(all_layers)[number]
    arrays: dict[str, np.ndarray] = {}
    inputs = input_statistics(content, chosen, data, target.with_suffix(".seen"))
    for done, (layer, statistics) in enumerate(zip(chosen, inputs, strict=True), 1):
        second_moment = second_moment_of(statistics)
        if second_moment is not None:
            steps, error = _rounded(layer, granularity, second_moment)
            arrays |= {f"{STEPS} {layer.operator.index}": steps, f"{ERROR} {layer.operator.index}": np.array(error)}
        report(done, len(chosen))
    with target.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return target


def _parts(all_layers: Sequence[Layer]) -> list[list[Layer]]:
    """Divide the layers into PARTS runs of about the same work, in the order of the file; some may be empty."""
    totals = list(accumulate(map(_work, all_layers), initial=0.0))
    parts: list[list[Layer]] = [[] for _ in range(PARTS)]
    for layer, before, after in zip(all_layers, totals, totals[1:], strict=False):
        parts[min(int((before + after) / 2 / totals[-1] * PARTS), PARTS - 1)].append(layer)
    return parts


def _work(layer: Layer) -> float:
    """Return about how many multiply-adds the rounding of a layer takes, or would take in the same time."""
    width = layer.width if has_covariance(layer) else 0
    return WORK_OF_SMALL_LAYER + float(covariance_rows(width)) * width**2 + float(width) ** 3


def _rounded(layer: Layer, granularity: WeightGranularity, second_moment: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the integers of the rounded weights, int8 [groups, outputs, inputs], and their error; see ERROR."""
    weights = layer.as_matrices(np.asarray(layer.weights.data, np.float64))
    scales = granularity.scales(layer, weights)
    rounded = gptq_round(weights, scales, second_moment)
    before, after = (
        squared_error(each - weights, second_moment) for each in (round_to_nearest(weights, scales), rounded)
    )
    steps = np.rint(rounded / scales[:, :, np.newaxis]).astype(np.int8)
    return steps, after / before if before else 1.0


def squared_error(change: np.ndarray, second_moment: np.ndarray) -> float:
    """Return the mean squared error that a change of the weights adds to all outputs."""
    return float(np.vdot(change @ second_moment, change))


def second_moment_of(statistics: InputStatistics) -> np.ndarray | None:
    """Return the second moment of the inputs, E[x xᵀ], [groups, inputs, inputs]; None if it is not known or finite.

    It is the Hessian of the paper. With the covariance in place of it, the error of the mean would be left to the bias.
    That is no better on unseen data, whose mean differs, and it needs a second fit for files without bias correction.
    """
    covariance, mean = statistics.covariance, statistics.mean
    if covariance is None or not np.isfinite(covariance).all():
        return None
    second_moment: np.ndarray = covariance + mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
    return second_moment


def _with_rounded_weights(corrected: CorrectedLayer, values: FittedValues) -> CorrectedLayer:
    """Return the layer with the weights by GPTQ, if there are any for it."""
    index = corrected.layer.operator.index
    steps = values.of(STEPS).get(index)
    if steps is None:
        return corrected
    rounded = steps * corrected.scales[:, :, np.newaxis]
    return replace(corrected, matrices=rounded, error=float(values.of(ERROR)[index]))


ROUNDING = LayerwiseCorrection(
    key="rounding",
    in_words="rounding",
    stage="round the weights of",
    compared_with=("bias_correction",),
    changes=("weights",),
    apply=_with_rounded_weights,
    layer_fit=LayerFit(PARTS, MAX_ROUNDING_CALLS, fit_rounding),
)
