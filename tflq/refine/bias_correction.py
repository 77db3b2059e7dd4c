"""Bias correction of the float32 model (Nagel et al. 2019, arXiv:1906.04721, section 4.2), with GPTQ rounding.

1. Run calibration samples through the float32 model, and take the expected input E[x] of each layer.
2. Round the weights W to W̃; the quantization error of the weights is ε = W̃ − W.
3. The biased error of the layer's output is E[ỹ] − E[y] = ε E[x].
4. Subtract ε E[x] from the layer's bias, so that the expected output stays the same.
5. If GPTQ is on, write its W̃ in place of W; the converter rounds them to the same integers.

The model stays float32 and gets no op.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tflq.calibrate import Samples
from tflq.flatbuffer import ROLES, Graph, edit, read
from tflq.refine.gptq import gptq_round, round_to_nearest, scales
from tflq.refine.input_statistics import InputStatistics, input_statistics
from tflq.refine.weighted_ops import DENSE, Layer, layers
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class WeightGranularity:
    """The granularity of weight scales in the quantized file: per channel or per tensor."""

    per_channel: bool = True
    """Whether the weights of convolutions have one scale per output channel."""
    per_channel_dense: bool = True
    """Whether the weights of dense layers have one, too; only if `per_channel` is True."""

    @property
    def in_words(self) -> str:
        """The end of a stage's name; empty if all scales are per channel."""
        if not self.per_channel:
            return ", per tensor"
        return "" if self.per_channel_dense else ", dense layers per tensor"

    def scales(self, layer: Layer, matrices: np.ndarray) -> np.ndarray:
        """Return the scales of the layer's weights, [groups, outputs]; `matrices` is [groups, outputs, inputs]."""
        return scales(matrices, self.per_channel and (self.per_channel_dense or layer.operator.type != DENSE))


@dataclass(frozen=True)
class CorrectionFlags:
    """The corrections of a model: its biases, and the rounding of its weights by GPTQ."""

    bias: bool = False
    rounding: bool = False


@dataclass(frozen=True)
class LayerCorrection:
    """The change of one layer."""

    operator: int
    """The index of the op in the main subgraph."""
    op: str
    """The type of the op."""
    tensor: str
    """The name of the op's output."""
    shift: float
    """The largest change of a bias, in units of the output."""
    error: float
    """The variance that rounded weights add to the output, in units of that of weights rounded to nearest."""


@dataclass(frozen=True)
class CorrectedModel:
    """A float32 file with its layers corrected."""

    path: Path
    corrections: tuple[LayerCorrection, ...]
    """One for each layer, in the order of the file."""


def correct(
    report: ProgressCallback,
    float32: Path,
    data: tuple[Samples, Sequence[int]],
    granularity: WeightGranularity,
    targets: Mapping[CorrectionFlags, Path],
) -> dict[CorrectionFlags, CorrectedModel]:
    """Write a corrected file of the float32 model for each target, from one run over the calibration calls.

    `data` holds the calibration samples, and the calls that are used of them.
    """
    content = float32.read_bytes()
    graph, models = read(content), {flags: edit.unpack(content) for flags in targets}
    float_layers = list(layers(graph, edit.unpack(content)))
    corrections: dict[CorrectionFlags, list[LayerCorrection]] = {flags: [] for flags in targets}
    inputs = input_statistics(content, float_layers, data, next(iter(targets.values())).with_suffix(".seen"))
    for number, (layer, statistics) in enumerate(zip(float_layers, inputs, strict=True), 1):
        for flags, model in models.items():
            corrections[flags].append(_correct(model, graph, _LayerStatistics(layer, statistics, granularity), flags))
        report(number, len(float_layers))
    for flags, path in targets.items():
        edit.write(models[flags], path)
    return {flags: CorrectedModel(path, tuple(corrections[flags])) for flags, path in targets.items()}


class _LayerStatistics:
    """The weights of a layer, the statistics of its inputs, and its rounded weights."""

    def __init__(self, layer: Layer, input_statistics: InputStatistics, granularity: WeightGranularity) -> None:
        self.layer, self.mean, self.covariance = layer, input_statistics.mean, _covariance(layer, input_statistics)
        self.weights = layer.as_matrices(np.asarray(layer.weights.data, np.float64))
        self._scales = granularity.scales(layer, self.weights)

    @cached_property
    def rounded_to_nearest(self) -> np.ndarray:
        return round_to_nearest(self.weights, self._scales)

    @cached_property
    def rounded_by_gptq(self) -> np.ndarray | None:
        """The weights rounded by GPTQ; None if the covariance of the inputs is not known."""
        return None if self.covariance is None else gptq_round(self.weights, self._scales, self.covariance)

    @cached_property
    def error(self) -> float:
        """The variance that GPTQ's weights add to all outputs, in units of that of weights rounded to nearest."""
        before = self._output_variance(self.rounded_to_nearest)
        return (
            1.0 if self.rounded_by_gptq is None or not before else self._output_variance(self.rounded_by_gptq) / before
        )

    def _output_variance(self, rounded: np.ndarray) -> float:
        change = rounded - self.weights
        return 0.0 if self.covariance is None else float(np.vdot(change @ self.covariance, change))


def _correct(model: Any, graph: Graph, statistics: _LayerStatistics, flags: CorrectionFlags) -> LayerCorrection:
    layer = statistics.layer
    operator, roles = layer.operator, ROLES[layer.operator.type]
    by_gptq = statistics.rounded_by_gptq if flags.rounding else None
    rounded, shift = statistics.rounded_to_nearest if by_gptq is None else by_gptq, np.zeros(1)
    if by_gptq is not None:
        edit.set_constant(model, (operator.index, roles.weights), layer.as_tensor(by_gptq))
    if flags.bias and layer.bias is not None and np.isfinite(statistics.mean).all():
        shift = layer.products(statistics.weights - rounded, statistics.mean)
        edit.set_constant(model, (operator.index, roles.bias), np.asarray(layer.bias.data) + shift)
    (output, *_) = graph.subgraphs[0].written_by(operator)
    largest, error = float(np.abs(shift).max(initial=0)), 1.0 if by_gptq is None else statistics.error
    return LayerCorrection(operator.index, operator.type, output.name, largest, error)


def _covariance(layer: Layer, statistics: InputStatistics) -> np.ndarray | None:
    """Return the covariance of the inputs; about 0 if no bias can compensate for an error of the mean."""
    if statistics.covariance is None or not np.isfinite(statistics.covariance).all():
        return None
    if layer.bias is not None:
        return statistics.covariance
    mean = statistics.mean
    about_zero: np.ndarray = statistics.covariance + mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
    return about_zero


def fake_quantize_weights(content: bytes, granularity: WeightGranularity) -> bytes:
    """Fake-quantize the weights of a float32 file: return the file with each weight rounded to a multiple of its scale.

    Activations and biases are left as they are.
    """
    graph, model = read(content), edit.unpack(content)
    for layer in layers(graph, edit.unpack(content)):
        weights = layer.as_matrices(np.asarray(layer.weights.data, np.float64))
        rounded = layer.as_tensor(round_to_nearest(weights, granularity.scales(layer, weights)))
        edit.set_constant(model, (layer.operator.index, ROLES[layer.operator.type].weights), rounded)
    return edit.pack(model)


def restore_weights(content: bytes, original: bytes, operators: Collection[int]) -> bytes:
    """Return the corrected file, in which the ops of these indices have the weights and biases of the original."""
    model, subgraph = edit.unpack(content), read(original).subgraphs[0]
    for operator in (subgraph.operators[index] for index in sorted(operators) if index < len(subgraph.operators)):
        roles = ROLES.get(operator.type)
        for position in (roles.weights, roles.bias) if roles else ():
            tensor = subgraph.input(operator, position)
            if tensor is not None and tensor.is_constant and tensor.dtype == "float32":
                edit.set_constant(model, (operator.index, position), np.asarray(tensor.data))
    return edit.pack(model)
