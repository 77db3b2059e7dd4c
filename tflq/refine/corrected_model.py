"""Write the corrections of layers into the float32 model. It stays float32 and gets no op.

Rounded weights are written as multiples of their scale; the converter rounds them to the same integers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from tflq.flatbuffer import ROLES, FileContent, Graph, edit, mapped_content, read, with_constants
from tflq.refine.corrected_layer import CorrectedLayer
from tflq.refine.correction import Constant
from tflq.refine.correction_list import LAYERWISE_CORRECTIONS
from tflq.refine.fitted_layers import FittedLayers, FittedValues
from tflq.refine.weight_ranges import drop_weight_ranges, with_weight_ranges
from tflq.refine.weighted_ops import WeightGranularity, layers
from tflq.worker import ProgressCallback

CorrectionOptions = tuple[WeightGranularity, Sequence[str]]
"""The granularity of the weights, and the keys of the corrections."""


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


def corrected_layers(
    content: FileContent, fitted: FittedLayers | None, granularity: WeightGranularity, keys: Collection[str]
) -> list[CorrectedLayer]:
    """Return the constants of every layer of the float32 file with the corrections of these keys."""
    values = fitted.load() if fitted else FittedValues()
    applied = [each for each in LAYERWISE_CORRECTIONS if each.key in keys]
    uncorrected = (CorrectedLayer.uncorrected(layer, granularity) for layer in layers(content))
    return [reduce(lambda corrected, each: each.apply(corrected, values), applied, each) for each in uncorrected]


def correct(content: FileContent, corrected: Sequence[CorrectedLayer], keys: Collection[str]) -> bytes:
    """Return the float32 file with the constants of these layers that the corrections change."""
    return _with_constants(
        content, corrected, {one for each in LAYERWISE_CORRECTIONS if each.key in keys for one in each.changes}
    )


def with_rounded_weights(content: FileContent, corrected: Sequence[CorrectedLayer]) -> bytes:
    """Return the float32 file with each weight a multiple of its scale, and with the biases."""
    return _with_constants(content, corrected, {"weights", "bias"})


def _with_constants(
    content: FileContent, corrected: Sequence[CorrectedLayer], constants: Collection[Constant]
) -> bytes:
    values: dict[tuple[int, int], np.ndarray] = {}
    for each in corrected:
        operator, roles = each.layer.operator, ROLES[each.layer.operator.type]
        if "weights" in constants:
            values[operator.index, roles.weights] = each.weights
        if "bias" in constants and each.bias is not None:
            values[operator.index, roles.bias] = each.bias
    return with_constants(content, values)


def write_corrected(
    _: ProgressCallback, float32: Path, fitted: FittedLayers, options: CorrectionOptions, target: Path
) -> CorrectedModel:
    """Write the float32 file with these corrections to `target`, and return what was changed."""
    granularity, keys = options
    content = mapped_content(float32)
    corrected = corrected_layers(content, fitted, granularity, keys)
    made = correct(content, corrected, keys)
    target.write_bytes(with_weight_ranges(made, corrected, granularity) if granularity.takes_scales else made)
    graph = read(content)
    return CorrectedModel(target, tuple(_report(graph, each) for each in corrected))


def _report(graph: Graph, corrected: CorrectedLayer) -> LayerCorrection:
    operator = corrected.layer.operator
    (output, *_) = graph.subgraphs[0].written_by(operator)
    return LayerCorrection(
        operator.index, operator.type, output.name, corrected.shift, corrected.error, corrected.layer.is_clustered
    )


def restore_weights(content: bytes, original: bytes, operators: Collection[int]) -> bytes:
    """Return the corrected file, in which the ops of these indices have the weights and biases of the original."""
    model, subgraph = edit.unpack(content), read(original).subgraphs[0]
    for operator in (subgraph.operators[index] for index in sorted(operators) if index < len(subgraph.operators)):
        roles = ROLES.get(operator.type)
        for position in (roles.weights, roles.bias) if roles else ():
            tensor = subgraph.input(operator, position)
            if tensor is not None and tensor.is_constant and tensor.dtype == "float32":
                edit.set_constant(model, (operator.index, position), np.asarray(tensor.data))
                drop_weight_ranges(model, tensor.index)
    return edit.pack(model)
