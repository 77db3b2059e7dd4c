"""Bias correction of the float32 model (Nagel et al. 2019, arXiv:1906.04721, section 4.2), with GPTQ rounding.

1. Run calibration samples through the float32 model, and take the expected input E[x] of each layer.
2. Round the weights W to W̃; the quantization error of the weights is ε = W̃ − W.
3. The biased error of the layer's output is E[ỹ] − E[y] = ε E[x].
4. Subtract ε E[x] from the layer's bias, so that the expected output stays the same.
5. If GPTQ is on, write its W̃ in place of W; the converter rounds them to the same integers.

The model stays float32 and gets no op.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tflq.flatbuffer import ROLES, Graph, edit, read
from tflq.refine.fitted_layers import FittedLayers, FittedValues
from tflq.refine.gptq import round_to_nearest
from tflq.refine.weighted_ops import Layer, WeightGranularity, layers
from tflq.worker import ProgressCallback


@dataclass(frozen=True)
class CorrectionFlags:
    """The corrections of a model: its biases, and the rounding of its weights by GPTQ."""

    bias: bool = False
    rounding: bool = False


CorrectionOptions = tuple[WeightGranularity, CorrectionFlags]
"""The granularity of the weights, and the corrections."""


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
    """The mean squared error that rounded weights add to the output, in units of that of rounding to nearest."""
    is_clustered: bool = False
    """Whether the weights are clustered, so that rounding and equalization left them as they were."""


@dataclass(frozen=True)
class CorrectedModel:
    """A float32 file with its layers corrected."""

    path: Path
    corrections: tuple[LayerCorrection, ...]
    """One for each layer, in the order of the file."""


@dataclass(frozen=True)
class CorrectedLayer:
    """The constants of a layer after correction."""

    layer: Layer
    weights: np.ndarray = field(repr=False)
    """Multiples of their scale in the shape of the tensor, float64."""
    scales: np.ndarray = field(repr=False)
    """The scale of each output's weights, float64 [groups, outputs]"""
    bias: np.ndarray | None = field(repr=False)
    """float64 [outputs]; None if the layer has no bias."""
    shift: float
    """The largest change of a bias, in units of the output."""
    error: float
    """See `LayerCorrection`."""

    @property
    def steps(self) -> np.ndarray:
        """The integers of the weights, float64 in the shape of the tensor."""
        matrices = self.layer.as_matrices(self.weights)
        return self.layer.as_tensor(np.rint(matrices / self.scales[:, :, np.newaxis]))


def corrected_layers(
    content: bytes, fitted: FittedLayers | None, granularity: WeightGranularity, flags: CorrectionFlags
) -> list[CorrectedLayer]:
    """Return the constants of every layer of the float32 file with these corrections."""
    values = fitted.load(flags.rounding) if fitted else FittedValues()
    return [_corrected(layer, values, granularity, flags) for layer in layers(read(content), edit.unpack(content))]


def _corrected(
    layer: Layer, values: FittedValues, granularity: WeightGranularity, flags: CorrectionFlags
) -> CorrectedLayer:
    weights, operator = layer.as_matrices(np.asarray(layer.weights.data, np.float64)), layer.operator.index
    scales = granularity.scales(layer, weights)
    steps = values.steps.get(operator) if flags.rounding else None
    rounded = round_to_nearest(weights, scales) if steps is None else steps * scales[:, :, np.newaxis]
    bias, shift = None if layer.bias is None else np.asarray(layer.bias.data, np.float64), np.zeros(1)
    mean = values.mean(layer)
    if flags.bias and bias is not None and mean is not None and np.isfinite(mean).all():
        shift = layer.products(weights - rounded, mean)
        bias = bias + shift
    error = 1.0 if steps is None else values.errors[operator]
    return CorrectedLayer(layer, layer.as_tensor(rounded), scales, bias, float(np.abs(shift).max(initial=0)), error)


def correct(content: bytes, corrected: list[CorrectedLayer], flags: CorrectionFlags) -> Any:
    """Return the float32 model, as an object, with the weights and the biases of these layers."""
    model = edit.unpack(content)
    for each in corrected:
        operator, roles = each.layer.operator, ROLES[each.layer.operator.type]
        if flags.rounding:
            edit.set_constant(model, (operator.index, roles.weights), each.weights)
        if flags.bias and each.bias is not None:
            edit.set_constant(model, (operator.index, roles.bias), each.bias)
    return model


def write_corrected(
    _: ProgressCallback, float32: Path, fitted: FittedLayers, options: CorrectionOptions, target: Path
) -> CorrectedModel:
    """Write the float32 file with these corrections to `target`, and return what was changed."""
    granularity, flags = options
    content = float32.read_bytes()
    corrected = corrected_layers(content, fitted, granularity, flags)
    edit.write(correct(content, corrected, flags), target)
    graph = read(content)
    return CorrectedModel(target, tuple(_report(graph, each) for each in corrected))


def _report(graph: Graph, corrected: CorrectedLayer) -> LayerCorrection:
    operator = corrected.layer.operator
    (output, *_) = graph.subgraphs[0].written_by(operator)
    return LayerCorrection(
        operator.index, operator.type, output.name, corrected.shift, corrected.error, corrected.layer.is_clustered
    )


def with_rounded_weights(content: bytes, corrected: list[CorrectedLayer]) -> Any:
    """Return the float32 model, as an object, with each weight a multiple of its scale, and with the biases."""
    return correct(content, corrected, CorrectionFlags(bias=True, rounding=True))


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
