"""Corrections of a file with integer weights, float activations and float biases: biases, and rounding of int4.

The steps are those of `bias_correction`, with the integer weights of the file itself as the rounded weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph, Tensor, edit, has_real_values, read, real_values
from tflq.refine.bias_correction import BIAS_CORRECTION
from tflq.refine.block_rounding import round_blocks
from tflq.refine.corrected_model import CorrectedModel, LayerCorrection
from tflq.refine.correction_data import CorrectionChoices, CorrectionData, operators_of
from tflq.refine.fitted_layers import MEAN, FittedLayers, FittedValues
from tflq.refine.holdout import output_errors
from tflq.refine.holdout_score import HoldoutScore, simplest
from tflq.refine.input_statistics import input_statistics
from tflq.refine.quantizer_input import RefinementReport
from tflq.refine.request import RefinementConfig
from tflq.refine.rounding import ROUNDING
from tflq.refine.weighted_ops import Layer, layers
from tflq.worker import ProgressCallback

DEQUANTIZE = "DEQUANTIZE"
"""The op that converts int8 weights to float for an op without a kernel for int8 weights."""


def correct_file(
    report: ProgressCallback,
    float32: Path,
    path: Path,
    data: CorrectionData,
    choices: CorrectionChoices,
) -> RefinementReport:
    """Correct the file at `path` in place as the choices demand, and else if it helps on hold-out samples.

    Raises ConversionError if the ops of the two files are not the same.
    """
    candidates = _candidates(report, (float32, path), data, choices)
    scores: tuple[HoldoutScore, ...] = ()
    if data.holdout and len(candidates) > 1:
        unweighted = [
            HoldoutScore(config, output_errors(report, each.path, float32, (data.samples, data.holdout)))
            for config, each in candidates.items()
        ]
        scores = tuple(each.weighted_by(unweighted[0]) for each in unweighted)
    config = simplest(scores, scores[0]).config if scores else next(iter(candidates))
    chosen = candidates.pop(config)
    if chosen.path != path:
        chosen.path.replace(path)
    for other in candidates.values():
        if other.path != path:
            other.path.unlink()
    return RefinementReport(config, scores, len(data.holdout) if scores else 0, chosen.corrections)


def _candidates(
    report: ProgressCallback, files: tuple[Path, Path], data: CorrectionData, choices: CorrectionChoices
) -> dict[RefinementConfig, CorrectedModel]:
    """Return the files that the choices allow, from that with the fewest corrections on."""
    float32, path = files
    bases = {False: CorrectedModel(path, ())}
    if choices.rounding != "off":
        rounded = path.with_suffix(".rounded")
        bases[True] = CorrectedModel(rounded, round_blocks(report, files, data, rounded))
    if choices.rounding == "on":
        del bases[False]
    values = _mean_inputs(float32, data, path.with_suffix(".seen")) if choices.bias != "off" else FittedValues()
    found: dict[RefinementConfig, CorrectedModel] = {}
    for is_rounded, base in bases.items():
        with_biases, config = None, RefinementConfig((ROUNDING.key,) if is_rounded else ())
        if choices.bias != "off":
            target = base.path.with_suffix(f"{base.path.suffix}.corrected")
            with_biases = _correct(report, (float32, base), values, target)
        if choices.bias != "on" or with_biases is None:
            found[config] = base
        if with_biases is not None:
            found[config.toggled(BIAS_CORRECTION.key)] = with_biases
    return found


def _correct(
    report: ProgressCallback, files: tuple[Path, CorrectedModel], values: FittedValues, target: Path
) -> CorrectedModel | None:
    """Write the second file with corrected biases; None if no layer has int weights and a float bias."""
    float32, base = files
    content, converted = float32.read_bytes(), base.path.read_bytes()
    graph, subgraph, model = read(content), read(converted).subgraphs[0], edit.unpack(converted)
    quantized = list(_quantized_layers(graph, content, subgraph))
    corrections = {correction.operator: correction for correction in base.corrections}
    for done, (layer, operator, weights) in enumerate(quantized, 1):
        shift = _shift(layer, weights, values.of(MEAN)[layer.operator.index])
        edit.set_constant(model, (operator.index, ROLES[operator.type].bias), np.asarray(_bias(layer).data) + shift)
        (output, *_) = subgraph.written_by(operator)
        rounded = corrections.get(operator.index)
        error, largest = rounded.error if rounded else 1.0, float(np.abs(shift).max())
        corrections[operator.index] = LayerCorrection(operator.index, operator.type, output.name, largest, error)
        report(done, len(quantized))
    if not quantized:
        return None
    edit.write(model, target)
    return CorrectedModel(target, tuple(corrections[index] for index in sorted(corrections)))


def _mean_inputs(float32: Path, data: CorrectionData, scratch: Path) -> FittedValues:
    """Return the means of the inputs of all layers: those that were found before, or else new ones."""
    if data.means:
        return FittedLayers(data.means).load()
    content = float32.read_bytes()
    found = list(layers(content))
    statistics = input_statistics(content, found, (data.samples, data.fitting), scratch, with_covariance=False)
    means = {layer.operator.index: each.mean for layer, each in zip(found, statistics, strict=True)}
    return FittedValues({MEAN: means})


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
    """Yield layers with integer weights and a float bias, each with its op in the file and its dequantized weights."""
    operators = operators_of(graph, dynamic_range)
    for layer in layers(content):
        operator = operators[layer.operator.index]
        weights = _dequantized_weights(dynamic_range, operator)
        bias = dynamic_range.input(operator, ROLES[operator.type].bias)
        is_float = bias is not None and bias.is_constant and bias.dtype == "float32"
        if weights is not None and layer.bias is not None and is_float:
            yield layer, operator, weights


def _dequantized_weights(dynamic_range: Subgraph, operator: Operator) -> np.ndarray | None:
    """Return the values of the op's integer weights, in float64; None if its weights are in float."""
    tensor = dynamic_range.input(operator, ROLES[operator.type].weights)
    unpacking = [
        other
        for other in dynamic_range.operators
        if tensor and other.type == DEQUANTIZE and tensor.index in other.outputs
    ]
    if unpacking:
        tensor = dynamic_range.input(unpacking[0], 0)
    is_integer = tensor is not None and tensor.dtype in ("int8", "int4") and tensor.quantization is not None
    return real_values(tensor) if tensor is not None and is_integer and has_real_values(tensor) else None
