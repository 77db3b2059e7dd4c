"""Asymmetric calibration: layers that compensate for the errors of the layers before them (Li et al. 2025, GPTAQ).

GPTQ rounds each layer as if its inputs had no error. After GPTQ, this module takes layers in the order of the file:

1. Find the layer's inputs x in the float32 file, and x̃ in the file with rounded weights.
2. The ideal change of the weights W minimizes E‖(W + ΔW) x̃ − W x‖². With E[x̃ x̃ᵀ] ≈ E[x xᵀ], it is
   ΔW = W E[(x − x̃) xᵀ] E[x xᵀ]⁻¹; see section 3 of the paper, arXiv:2504.02692.
3. Estimate ΔW from half of the samples, and find the part of it that is best on the other half; and the other way
   round. With few samples, this part is small. The paper takes all of ΔW.
4. Round W and that part of ΔW by GPTQ. The layers behind see the result.

Each layer must see the changes of all layers before it. Otherwise, several layers would compensate for the same error.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import prod
from pathlib import Path

import numpy as np

from tflq.cost_model import operator_multiply_adds
from tflq.flatbuffer import FileContent, mapped_content, read
from tflq.interpreter import Runner
from tflq.refine.bias_correction import BIAS_CORRECTION
from tflq.refine.corrected_layer import CorrectedLayer
from tflq.refine.corrected_model import corrected_layers, with_rounded_weights
from tflq.refine.correction import FittingData
from tflq.refine.fitted_layers import FittedLayers, save
from tflq.refine.gptq import DAMPING, RoundedWeights
from tflq.refine.input_statistics import covariance_rows, expose_inputs, has_covariance
from tflq.refine.rounding import ERROR, ROUNDING, SCALES, STEPS, round_layer
from tflq.refine.second_moments import SecondMoments
from tflq.refine.weighted_ops import GROUPED, Layer, WeightGranularity, layers
from tflq.worker import ProgressCallback

COMPENSATION_BUDGET = 2.5e10
"""The largest number of multiply-adds for all layers that compensate.

If more layers could, the first ones do: the model runs up to each of them, and the errors of early layers do most harm.
"""
MAX_INPUT_VALUES = 1 << 25
"""The largest number of values of the inputs of all these layers."""


@dataclass(frozen=True)
class _Inputs:
    """The inputs of a layer at the same positions in two files, float32 [rows, inputs]."""

    exact: np.ndarray = field(repr=False)
    """The inputs in the float32 file."""
    actual: np.ndarray = field(repr=False)
    """The inputs in the file with rounded weights."""
    halves: tuple[slice, slice]
    """The rows of the first half of the calls, and the rows of the other calls."""


@dataclass(frozen=True)
class RoundedLayers:
    """What was fitted to the layers of a float32 file before they compensate."""

    layers: FittedLayers
    """The means of the layers' inputs, and the weights that GPTQ rounded."""
    moments: SecondMoments
    """The second moments of the layers' inputs."""
    granularity: WeightGranularity


def fit_asymmetric_calibration(
    report: ProgressCallback, float32: Path, data: FittingData, fitted: RoundedLayers, target: Path
) -> Path:
    """Write rounded weights that compensate for the errors of earlier layers, of the kinds that rounding writes.

    `data` holds the calibration samples, and the calls that are used of them. `fitted` is of the same float32 file.
    Layers that cannot compensate are left out. EvaluationError if LiteRT cannot run the file. Return `target`.
    """
    content, values, granularity = mapped_content(float32), fitted.layers.load(), fitted.granularity
    chosen = _chosen(content, len(data[1]))
    exact = _inputs(content, chosen, data, target)
    keys = (ROUNDING.key, BIAS_CORRECTION.key)
    rounded_file = with_rounded_weights(content, corrected_layers(content, fitted.layers, granularity, keys))
    found: dict[str, dict[int, np.ndarray]] = {STEPS: {}, SCALES: {}, ERROR: {}}
    for done, (layer, second_moment) in enumerate(zip(chosen, fitted.moments.of(chosen), strict=True), 1):
        index = layer.operator.index
        actual = _inputs(rounded_file, [layer], data, target)[index]
        inputs = _Inputs(exact.pop(index), actual, _halves(len(actual), len(data[1])))
        compensated = None if second_moment is None else _compensated(layer, inputs, second_moment, granularity)
        if compensated is not None:
            rounded, error = compensated
            found[STEPS][index], found[SCALES][index] = rounded.integers, rounded.scales
            found[ERROR][index] = np.array(error)
            own = replace(CorrectedLayer.uncorrected(layer, granularity), corrected_weights=rounded)
            rounded_file = with_rounded_weights(rounded_file, [BIAS_CORRECTION.apply(own, values)])
        report(done, len(chosen))
    return save(target, found)


def _chosen(content: FileContent, calls: int) -> list[Layer]:
    """Return the layers that compensate, in the order of the file: as many as the budget allows."""
    main = read(content).subgraphs[0]
    before = [0, *accumulate(operator_multiply_adds(main, operator) for operator in main.operators)]
    able = [layer for layer in layers(content) if _can_compensate(layer) and layer.activation.index not in main.inputs]
    work = list(accumulate(calls * before[each.operator.index] + _multiply_adds_of_fit(each) for each in able))
    values = list(accumulate(map(_input_values, able)))
    count = min(bisect_right(work, COMPENSATION_BUDGET), bisect_right(values, MAX_INPUT_VALUES))
    return able[:count]


def _can_compensate(layer: Layer) -> bool:
    """Whether an output reads all channels, so that the error of one may be compensated for by others."""
    return layer.operator.type != GROUPED and has_covariance(layer) and not layer.is_clustered


def _input_values(layer: Layer) -> int:
    return covariance_rows(layer.width) * layer.width


def _multiply_adds_of_fit(layer: Layer) -> float:
    outputs = prod(layer.weights.shape) // layer.width
    return 4.0 * _input_values(layer) * outputs + float(layer.width) ** 3


def _inputs(content: FileContent, chosen: Sequence[Layer], data: FittingData, scratch: Path) -> dict[int, np.ndarray]:
    """Return inputs of the layers at random positions, float32 [rows, inputs], by the index of the op.

    The positions depend on the call alone. Each call has the same number of rows. A temporary file is beside `scratch`.
    """
    (samples, calls), rows = data, dict[int, list[np.ndarray]]()
    if not chosen:
        return {}
    expose_inputs(content, chosen, exposed := scratch.with_suffix(".exposed"))
    run = Runner(exposed)
    for call, arrays in zip(calls, samples.calls(calls), strict=True):
        answers = run(arrays)
        for layer in chosen:
            of_call = -(-covariance_rows(layer.width) // len(calls))
            patches = layer.input_patches(answers[str(layer.activation.index)], of_call, call)
            rows.setdefault(layer.operator.index, []).append(patches[:, 0])
    exposed.unlink()
    return {index: np.concatenate(each) for index, each in rows.items()}


def _halves(rows: int, calls: int) -> tuple[slice, slice]:
    middle = rows // calls * (calls // 2)
    return slice(0, middle), slice(middle, rows)


def _weights(layer: Layer) -> np.ndarray:
    """Return the weights, float64 [1, outputs, inputs]."""
    return layer.as_matrices(np.asarray(layer.weights.data, np.float64))


def _compensated(
    layer: Layer, inputs: _Inputs, second_moment: np.ndarray, granularity: WeightGranularity
) -> tuple[RoundedWeights, float] | None:
    """Return the rounded weights that compensate, and the error of rounding them; None if nothing changes."""
    change = _change(layer, inputs, second_moment)
    return None if change is None else round_layer(layer, _weights(layer) + change, granularity, second_moment)


def _change(layer: Layer, inputs: _Inputs, second_moment: np.ndarray) -> np.ndarray | None:
    """Return the change of the weights that compensates, float64 [1, outputs, inputs]; None if there is none.

    Weights that are 0 stay 0. `second_moment` is [1, inputs, inputs].
    """
    weights, (first, second) = _weights(layer), inputs.halves
    errors = (inputs.exact - inputs.actual) @ weights[0].T.astype(np.float32)
    is_known = first.stop and np.trace(second_moment[0]) > 0 and np.isfinite(errors).all()
    if not is_known or not errors.any():
        return None
    products = np.stack([errors[half].T @ inputs.exact[half] for half in inputs.halves])
    of_first, of_second = _times_inverse(products, second_moment[0])
    gain = energy = 0.0
    for change, rows, other in ((of_first, first, second), (of_second, second, first)):
        compensated = inputs.actual[other] @ (change / len(errors[rows])).T.astype(np.float32)
        gain += float(np.vdot(compensated, errors[other]))
        energy += float(np.vdot(compensated, compensated))
    part = min(max(gain / energy, 0.0), 1.0) if energy else 0.0
    change = part / len(errors) * (of_first + of_second)
    return np.where(weights == 0, 0, change[np.newaxis]) if part else None


def _times_inverse(products: np.ndarray, second_moment: np.ndarray) -> np.ndarray:
    """Return each matrix P times the inverse of the damped second moment H, P H⁻¹, float64.

    Shapes: products and result [matrices, outputs, inputs], second_moment [inputs, inputs].
    """
    from scipy.linalg import solve  # TensorFlow imports it, too, and the command line does not need it

    damped = second_moment.astype(np.float64)
    np.einsum("ii->i", damped)[:] += DAMPING * np.trace(damped) / len(damped)
    columns = products.reshape(-1, len(damped)).T.astype(np.float64)
    quotients: np.ndarray = solve(
        damped, columns, assume_a="pos", overwrite_a=True, overwrite_b=True, check_finite=False
    )
    return quotients.T.reshape(products.shape)
