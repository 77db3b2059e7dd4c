"""Biases of a file with int8 weights and float activations: they stay in float, and make up for its own weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tflq.calibrate import Samples
from tflq.errors import ConversionError
from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph, Tensor, edit, read
from tflq.refine.bias_correction import CorrectionFlags, LayerCorrection
from tflq.refine.holdout_score import HoldoutScore, best_score
from tflq.refine.input_statistics import InputStatistics, input_statistics
from tflq.refine.quantizer_input import Refinement, output_errors
from tflq.refine.request import RefinementConfig
from tflq.refine.weighted_ops import Layer, layers
from tflq.worker import ProgressCallback

CORRECTED = RefinementConfig(CorrectionFlags(bias=True))
UNPACKS = "DEQUANTIZE"
"""The op before one that has no kernel for int8 weights."""


def correct_biases(
    report: ProgressCallback,
    float32: Path,
    path: Path,
    data: tuple[Samples, Sequence[int], Sequence[int]],
    is_demanded: bool,
) -> Refinement:
    """Correct the biases of the file where that is demanded, or seen to help; `data`: calls to fit to, and to decide.

    ConversionError where the ops of the two files are not the same.
    """
    samples, fitted, held = data
    target = path.with_suffix(".corrected")
    corrections = _correct(report, (float32, path), (samples, fitted), target)
    attempts: tuple[HoldoutScore, ...] = ()
    if held and corrections and not is_demanded:
        files = {RefinementConfig(): path, CORRECTED: target}
        attempts = tuple(
            HoldoutScore(one, output_errors(report, file, float32, (samples, held))) for one, file in files.items()
        )
    kept = CORRECTED if is_demanded else best_score(attempts).config if attempts else RefinementConfig()
    if kept == RefinementConfig():
        target.unlink()
        return Refinement(kept, attempts, len(held) if attempts else 0, ())
    target.replace(path)
    return Refinement(kept, attempts, len(held) if attempts else 0, corrections)


def _correct(
    report: ProgressCallback, files: tuple[Path, Path], data: tuple[Samples, Sequence[int]], target: Path
) -> tuple[LayerCorrection, ...]:
    content, made = (file.read_bytes() for file in files)
    graph, hybrid, model = read(content), read(made).subgraphs[0], edit.unpack(made)
    found = list(_rounded(graph, content, hybrid))
    done: list[LayerCorrection] = []
    met = input_statistics(
        content, [layer for layer, _, _ in found], data, target.with_suffix(".seen"), with_covariance=False
    )
    for (layer, operator, weights), seen in zip(found, met, strict=True):
        shift = _shift(layer, weights, seen)
        edit.set_constant(model, (operator.index, ROLES[operator.type].bias), np.asarray(_bias(layer).data) + shift)
        (output, *_) = hybrid.written_by(operator)
        done.append(LayerCorrection(operator.index, operator.type, output.name, float(np.abs(shift).max()), 1.0))
        report(len(done), len(found))
    edit.write(model, target)
    return tuple(done)


def _shift(layer: Layer, weights: np.ndarray, seen: InputStatistics) -> np.ndarray:
    """What takes the mean out that such weights add; 0 where it is not known what they meet."""
    lost = np.asarray(layer.weights.data, np.float64) - weights
    shift = layer.products(layer.as_matrices(lost), seen.mean)
    return shift if np.isfinite(shift).all() else np.zeros_like(shift)


def _bias(layer: Layer) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _rounded(graph: Graph, content: bytes, hybrid: Subgraph) -> Iterator[tuple[Layer, Operator, np.ndarray]]:
    """The layers with a bias in float whose weights became integers: the op of the file, and what its weights are."""
    pairs = dict(_pairs(graph.subgraphs[0], hybrid))
    for layer in layers(graph, edit.unpack(content)):
        operator = pairs[layer.operator.index]
        weights = _weights(hybrid, operator)
        bias = hybrid.input(operator, ROLES[operator.type].bias)
        is_float = bias is not None and bias.is_constant and bias.dtype == "float32"
        if weights is not None and layer.bias is not None and is_float:
            yield layer, operator, weights


def _pairs(float32: Subgraph, hybrid: Subgraph) -> Iterator[tuple[int, Operator]]:
    """The op of the file for each of the float32 file, by its index there."""
    ones, others = ([operator for operator in one.operators if operator.type != UNPACKS] for one in (float32, hybrid))
    told = [
        [(operator.type, [tensor.shape for tensor in graph.written_by(operator)]) for operator in some]
        for graph, some in ((float32, ones), (hybrid, others))
    ]
    if told[0] != told[1]:
        raise ConversionError(
            "bias_correction: the converter made other ops of this model with int8 weights than with float32 ones, so"
            ' that it cannot be told which bias belongs to which weights; write bias_correction: "off"'
        )
    yield from zip((operator.index for operator in ones), others, strict=True)


def _weights(hybrid: Subgraph, operator: Operator) -> np.ndarray | None:
    """What integer weights of the op stand for, in float64; None where they are in float."""
    tensor = hybrid.input(operator, ROLES[operator.type].weights)
    unpacking = [one for one in hybrid.operators if tensor and one.type == UNPACKS and tensor.index in one.outputs]
    if unpacking:
        tensor = hybrid.input(unpacking[0], 0)
    if tensor is None or not tensor.is_constant or tensor.is_sparse or tensor.dtype != "int8":
        return None
    held = tensor.quantization
    if held is None or not held.scales:
        return None
    shape = [-1 if axis == held.dimension else 1 for axis in range(len(tensor.shape))] if held.is_per_axis else [1]
    scales, zeros = (np.array(some, np.float64).reshape(shape) for some in (held.scales, held.zero_points))
    values: np.ndarray = (np.asarray(tensor.data, np.float64) - zeros) * scales
    return values
