"""Bias correction of a dynamic range file, which has int8 weights, float activations and float biases.

The steps are those of `bias_correction`, with the int8 weights of the file itself as the rounded weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq.calibrate import Samples
from tflq.errors import ConversionError
from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph, Tensor, edit, read
from tflq.refine.bias_correction import CorrectionFlags, LayerCorrection
from tflq.refine.fitted_layers import MEAN_PARTS, FittedLayers, fit_means
from tflq.refine.holdout import output_errors
from tflq.refine.holdout_score import HoldoutScore, simplest
from tflq.refine.operator_pairs import operator_pairs
from tflq.refine.quantizer_input import RefinementReport
from tflq.refine.request import RefinementConfig
from tflq.refine.weighted_ops import Layer, layers
from tflq.worker import ProgressCallback

CORRECTED = RefinementConfig(CorrectionFlags(bias=True))
DEQUANTIZE = "DEQUANTIZE"
"""The op that converts int8 weights to float for an op without a kernel for int8 weights."""


@dataclass(frozen=True)
class CorrectionData:
    """The calibration samples of a correction."""

    samples: Samples
    fitting: Sequence[int]
    """The calls that the means are fitted to."""
    holdout: Sequence[int]
    means: tuple[Path, ...] = ()
    """The files of `fit_means` for the float32 file and the fitting calls, if there are any."""


def correct_biases(
    report: ProgressCallback,
    float32: Path,
    path: Path,
    data: CorrectionData,
    is_demanded: bool,
) -> RefinementReport:
    """Correct the biases of the file at `path` in place if that is demanded, or if it helps on hold-out samples.

    Raises ConversionError if the ops of the two files are not the same.
    """
    samples, holdout = data.samples, data.holdout
    target = path.with_suffix(".corrected")
    corrections = _correct(report, (float32, path), data, target)
    scores: tuple[HoldoutScore, ...] = ()
    if holdout and corrections and not is_demanded:
        files = {RefinementConfig(): path, CORRECTED: target}
        scores = tuple(
            HoldoutScore(config, output_errors(report, file, float32, (samples, holdout)))
            for config, file in files.items()
        )
    config = CORRECTED if is_demanded else simplest(scores, scores[0]).config if scores else RefinementConfig()
    if config == RefinementConfig():
        target.unlink()
        return RefinementReport(config, scores, len(holdout) if scores else 0, ())
    target.replace(path)
    return RefinementReport(config, scores, len(holdout) if scores else 0, corrections)


def _correct(
    report: ProgressCallback, files: tuple[Path, Path], data: CorrectionData, target: Path
) -> tuple[LayerCorrection, ...]:
    content, converted = (file.read_bytes() for file in files)
    graph, subgraph, model = read(content), read(converted).subgraphs[0], edit.unpack(converted)
    quantized = list(_quantized_layers(graph, content, subgraph))
    corrections: list[LayerCorrection] = []
    means = data.means or _fit_means(report, files[0], data, target)
    values = FittedLayers(means).load(with_rounding=False)
    for path in () if data.means else means:
        path.unlink()
    for layer, operator, weights in quantized:
        shift = _shift(layer, weights, values.means[layer.operator.index])
        edit.set_constant(model, (operator.index, ROLES[operator.type].bias), np.asarray(_bias(layer).data) + shift)
        (output, *_) = subgraph.written_by(operator)
        largest = float(np.abs(shift).max())
        corrections.append(LayerCorrection(operator.index, operator.type, output.name, largest, 1.0))
        report(len(corrections), len(quantized))
    edit.write(model, target)
    return tuple(corrections)


def _fit_means(report: ProgressCallback, float32: Path, data: CorrectionData, target: Path) -> tuple[Path, ...]:
    parts = enumerate(target.with_suffix(f".means{number}") for number in range(MEAN_PARTS))
    return tuple(fit_means(report, float32, (data.samples, data.fitting), part) for part in parts)


def _shift(layer: Layer, weights: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the change of the bias that removes the mean error of these weights; 0 if the mean input is not finite."""
    lost = np.asarray(layer.weights.data, np.float64) - weights
    shift = layer.products(layer.as_matrices(lost), mean)
    return shift if np.isfinite(shift).all() else np.zeros_like(shift)


def _bias(layer: Layer) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _quantized_layers(
    graph: Graph, content: bytes, dynamic_range: Subgraph
) -> Iterator[tuple[Layer, Operator, np.ndarray]]:
    """Yield layers with int8 weights and a float bias, each with its op in the file and its dequantized weights."""
    operators = operator_pairs(graph.subgraphs[0], dynamic_range)
    if operators is None:
        raise ConversionError(
            "bias_correction: the dynamic range file has other ops than the float32 file, so its biases cannot be"
            ' matched with those of the float32 file; write bias_correction: "off"'
        )
    for layer in layers(graph, edit.unpack(content)):
        operator = operators[layer.operator.index]
        weights = _dequantized_weights(dynamic_range, operator)
        bias = dynamic_range.input(operator, ROLES[operator.type].bias)
        is_float = bias is not None and bias.is_constant and bias.dtype == "float32"
        if weights is not None and layer.bias is not None and is_float:
            yield layer, operator, weights


def _dequantized_weights(dynamic_range: Subgraph, operator: Operator) -> np.ndarray | None:
    """Return the values of the op's int8 weights, in float64; None if its weights are in float."""
    tensor = dynamic_range.input(operator, ROLES[operator.type].weights)
    unpacking = [
        other
        for other in dynamic_range.operators
        if tensor and other.type == DEQUANTIZE and tensor.index in other.outputs
    ]
    if unpacking:
        tensor = dynamic_range.input(unpacking[0], 0)
    if tensor is None or not tensor.is_constant or tensor.is_sparse or tensor.dtype != "int8":
        return None
    quantization = tensor.quantization
    if quantization is None or not quantization.scales:
        return None
    is_per_axis, rank = quantization.is_per_axis, len(tensor.shape)
    shape = [-1 if axis == quantization.dimension else 1 for axis in range(rank)] if is_per_axis else [1]
    scales, zeros = (
        np.array(values, np.float64).reshape(shape) for values in (quantization.scales, quantization.zero_points)
    )
    weights: np.ndarray = (np.asarray(tensor.data, np.float64) - zeros) * scales
    return weights
