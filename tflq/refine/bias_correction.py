"""Weights and biases changed in the float32 file, so that its quantized file is nearer to it; no op is added."""

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
    """Which scales weights have in the quantized file."""

    per_channel: bool = True
    per_channel_dense: bool = True

    @property
    def in_words(self) -> str:
        if not self.per_channel:
            return ", one scale a tensor"
        return "" if self.per_channel_dense else ", one scale a dense layer"

    def scales(self, layer: Layer, matrices: np.ndarray) -> np.ndarray:
        return scales(matrices, self.per_channel and (self.per_channel_dense or layer.operator.type != DENSE))


@dataclass(frozen=True)
class CorrectionFlags:
    """What is changed."""

    bias: bool = False
    rounding: bool = False


@dataclass(frozen=True)
class LayerCorrection:
    """What was done to one layer."""

    operator: int
    op: str
    tensor: str
    """The name of its output."""
    shift: float
    """The largest change of a bias, in units of the output."""
    error: float
    """The variance that rounded weights add to the output, where that of the nearest ones is 1."""


@dataclass(frozen=True)
class CorrectedModel:
    """A float32 file with its layers corrected."""

    path: Path
    corrections: tuple[LayerCorrection, ...]
    """In the file's order."""


def correct(
    report: ProgressCallback,
    float32: Path,
    data: tuple[Samples, Sequence[int]],
    granularity: WeightGranularity,
    asked: Mapping[CorrectionFlags, Path],
) -> dict[CorrectionFlags, CorrectedModel]:
    """Write a file for each that is asked for, from one look at what its layers meet on those calls."""
    content = float32.read_bytes()
    graph, models = read(content), {one: edit.unpack(content) for one in asked}
    found = list(layers(graph, edit.unpack(content)))
    done: dict[CorrectionFlags, list[LayerCorrection]] = {one: [] for one in asked}
    met = input_statistics(content, found, data, next(iter(asked.values())).with_suffix(".seen"))
    for number, (layer, seen) in enumerate(zip(found, met, strict=True), 1):
        for one, model in models.items():
            done[one].append(_correct(model, graph, _LayerStatistics(layer, seen, granularity), one))
        report(number, len(found))
    for one, path in asked.items():
        edit.write(models[one], path)
    return {one: CorrectedModel(path, tuple(done[one])) for one, path in asked.items()}


class _LayerStatistics:
    """A layer's weights, what they meet, and what they are once they are rounded."""

    def __init__(self, layer: Layer, input_statistics: InputStatistics, granularity: WeightGranularity) -> None:
        self.layer, self.mean, self.covariance = layer, input_statistics.mean, _covariance(layer, input_statistics)
        self.weights = layer.as_matrices(np.asarray(layer.weights.data, np.float64))
        self._scales = granularity.scales(layer, self.weights)

    @cached_property
    def rounded_to_nearest(self) -> np.ndarray:
        return round_to_nearest(self.weights, self._scales)

    @cached_property
    def rounded_by_gptq(self) -> np.ndarray | None:
        """None where it is not known what the weights meet."""
        return None if self.covariance is None else gptq_round(self.weights, self._scales, self.covariance)

    @cached_property
    def error(self) -> float:
        """The variance that fitted weights add to all outputs, where that of the nearest ones is 1."""
        before = self._output_variance(self.rounded_to_nearest)
        return (
            1.0 if self.rounded_by_gptq is None or not before else self._output_variance(self.rounded_by_gptq) / before
        )

    def _output_variance(self, rounded: np.ndarray) -> float:
        change = rounded - self.weights
        return 0.0 if self.covariance is None else float(np.vdot(change @ self.covariance, change))


def _correct(model: Any, graph: Graph, seen: _LayerStatistics, asked: CorrectionFlags) -> LayerCorrection:
    layer = seen.layer
    operator, roles = layer.operator, ROLES[layer.operator.type]
    fitting = seen.rounded_by_gptq if asked.rounding else None
    rounded, shift = seen.rounded_to_nearest if fitting is None else fitting, np.zeros(1)
    if fitting is not None:
        edit.set_constant(model, (operator.index, roles.weights), layer.as_tensor(fitting))
    if asked.bias and layer.bias is not None and np.isfinite(seen.mean).all():
        shift = layer.products(seen.weights - rounded, seen.mean)
        edit.set_constant(model, (operator.index, roles.bias), np.asarray(layer.bias.data) + shift)
    (output, *_) = graph.subgraphs[0].written_by(operator)
    largest, error = float(np.abs(shift).max(initial=0)), 1.0 if fitting is None else seen.error
    return LayerCorrection(operator.index, operator.type, output.name, largest, error)


def _covariance(layer: Layer, seen: InputStatistics) -> np.ndarray | None:
    """Of what the weights meet; about 0 where no bias makes up for a mean."""
    if seen.covariance is None or not np.isfinite(seen.covariance).all():
        return None
    if layer.bias is not None:
        return seen.covariance
    about_zero: np.ndarray = seen.covariance + seen.mean[:, :, np.newaxis] * seen.mean[:, np.newaxis, :]
    return about_zero


def fake_quantize_weights(content: bytes, granularity: WeightGranularity) -> bytes:
    """The file with the weights of its layers rounded, still in float32: what quantizing does to weights alone."""
    graph, model = read(content), edit.unpack(content)
    for layer in layers(graph, edit.unpack(content)):
        weights = layer.as_matrices(np.asarray(layer.weights.data, np.float64))
        rounded = layer.as_tensor(round_to_nearest(weights, granularity.scales(layer, weights)))
        edit.set_constant(model, (layer.operator.index, ROLES[layer.operator.type].weights), rounded)
    return edit.pack(model)


def restore_weights(content: bytes, original: bytes, operators: Collection[int]) -> bytes:
    """The corrected file, its ops of those indices with the weights and biases that they had before."""
    model, subgraph = edit.unpack(content), read(original).subgraphs[0]
    for operator in (subgraph.operators[index] for index in sorted(operators) if index < len(subgraph.operators)):
        roles = ROLES.get(operator.type)
        for position in (roles.weights, roles.bias) if roles else ():
            tensor = subgraph.input(operator, position)
            if tensor is not None and tensor.is_constant and tensor.dtype == "float32":
                edit.set_constant(model, (operator.index, position), np.asarray(tensor.data))
    return edit.pack(model)
