"""Cross-layer equalization of the float32 model (Nagel et al. 2019, arXiv:1906.04721, section 4.1).

1. Positive scaling equivariance: f(s·x) = s·f(x) for s > 0 if f is piece-wise linear, such as ReLU.
2. So a channel may be multiplied by s in the layer that computes it, in the weights and in the bias.
3. The weights that read the channel are divided by s. The outputs of the model stay the same.
4. The paper selects s for two layers so that their weights have equal ranges in each channel.
5. This module selects s from the ranges of activations, since all channels of an activation share one scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tflq.calibrate.observe import activations
from tflq.channel_factors import channel_factors, floored
from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph, edit, read
from tflq.interpreter import Runner
from tflq.refine.correction import FittingData, ModelCorrection, RewrittenModel
from tflq.refine.fitted_layers import FACTOR, save
from tflq.refine.weighted_ops import DENSE, Layer, layers
from tflq.worker import ProgressCallback

SIX, RELU6_MARGIN = 6.0, 1.1
"""The ceiling of RELU6, and its least ratio to the size of an enlarged channel."""
PASSING = {
    *("RELU", "RELU6", "LEAKY_RELU", "PRELU", "MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "RESHAPE", "MEAN"),
    *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
}
"""Ops that pass on a positive factor of a channel from their first input to their output."""
ADDING = {"ADD", "SUB"}
_FUSED = {"NONE", "RELU", "RELU6"}


@dataclass
class _TiedActivations:
    """Activations whose channels must have the same factors."""

    tensors: set[int] = field(default_factory=set)
    is_free: bool = True
    """Whether all ops that write and read these activations allow factors."""
    has_ceiling: bool = False
    """Whether one of these activations is the output of a RELU6."""


@dataclass(frozen=True)
class _ChannelRanges:
    """The ranges of the channels of one activation, [channels]."""

    size: np.ndarray
    """The largest magnitude."""
    count: np.ndarray
    """The number of values in the calls in which at least one value of the channel is not 0."""


def equalize(report: ProgressCallback, float32: Path, data: FittingData, target: Path) -> RewrittenModel:
    """Write the float32 file with its channels equalized; its outputs differ by float rounding only.

    `data` holds the calibration samples, and the calls that are used of them.
    """
    content = float32.read_bytes()
    graph, model = read(content), edit.unpack(content)
    by_operator = {layer.operator.index: layer for layer in layers(content)}
    groups = [group for group in _tied_activations(graph, by_operator) if group.is_free]
    tensors = [index for group in groups for index in group.tensors]
    exposed = _expose(content, graph, tensors, target.with_suffix(".channels"))
    channels = _channel_ranges(Runner(exposed), data, graph)
    exposed.unlink()
    factors = {index: factor for group in groups for index, factor in _factors(group, channels).items()}
    for layer in by_operator.values():
        _rescale(model, layer, factors)
    edit.write(model, target)
    report(1, 1)
    return RewrittenModel(target, len(factors), save(target.with_suffix(".factors"), {FACTOR: factors}))


def _tied_activations(graph: Graph, layers_by_operator: dict[int, Layer]) -> list[_TiedActivations]:
    subgraph = graph.subgraphs[0]
    by_tensor = {index: _TiedActivations({index}) for index in activations(graph)}
    for operator in subgraph.operators:
        touched = [index for index in (*operator.inputs, *operator.outputs) if index in by_tensor]
        layer = layers_by_operator.get(operator.index)
        if layer is None and _passes(subgraph, operator):
            by_tensor |= dict.fromkeys((merged := _merged([by_tensor[index] for index in touched])).tensors, merged)
        else:
            for index in touched:
                by_tensor[index].is_free &= _allows_factors(layer, index in operator.outputs)
        for output in (by_tensor[index] for index in operator.outputs if index in by_tensor):
            output.is_free &= operator.fused in _FUSED
            output.has_ceiling |= "RELU6" in (operator.fused, operator.type)
    for index in (*subgraph.inputs, *subgraph.outputs):
        if index in by_tensor:
            by_tensor[index].is_free = False
    return list({id(group): group for group in by_tensor.values()}.values())


def _allows_factors(layer: Layer | None, is_output: bool) -> bool:
    """Whether the channels of an input or output of an op may have factors; `layer` is None for other ops."""
    return layer is not None and not layer.is_clustered and (is_output or _has_channels(layer))


def _has_channels(layer: Layer) -> bool:
    """Whether each weight reads one known channel; a dense layer may read several pixels at once."""
    return layer.operator.type != DENSE or layer.activation.shape[-1] == layer.weights.shape[-1]


def _merged(groups: Sequence[_TiedActivations]) -> _TiedActivations:
    tensors = {index for group in groups for index in group.tensors}
    is_free, has_ceiling = all(group.is_free for group in groups), any(group.has_ceiling for group in groups)
    return _TiedActivations(tensors, is_free, has_ceiling)


def _passes(subgraph: Subgraph, operator: Operator) -> bool:
    """Whether a positive factor of an input channel is a factor of the same output channel."""
    tensors = [*subgraph.read_by(operator), *subgraph.written_by(operator)]
    if any(not tensor.shape for tensor in (tensors[0], tensors[-1])):
        return False
    if operator.type in ADDING:
        return len({tensor.shape for tensor in tensors}) == 1 and not any(tensor.is_constant for tensor in tensors)
    if operator.type == "MEAN":
        axes = tensors[1].data
        if axes is None or {-1, len(tensors[0].shape) - 1} & set(axes.reshape(-1).tolist()):
            return False
    return operator.type in PASSING and tensors[0].shape[-1] == tensors[-1].shape[-1]


def _expose(content: bytes, graph: Graph, tensors: Sequence[int], target: Path) -> Path:
    """Write the model whose outputs are the minimum and maximum of each channel of these activations."""
    model, outputs, behind = edit.unpack(content), dict[str, int](), dict[int, list[Any]]()
    for index in tensors:
        shape = graph.subgraphs[0].tensors[index].shape
        axes = edit.add_constant(model, f"axes {index}", np.arange(len(shape) - 1))
        for kind in ("REDUCE_MIN", "REDUCE_MAX"):
            output = edit.add_tensor(model, f"{kind} {index}", [shape[-1]])
            behind.setdefault(index, []).append(edit.reduction(model, kind, [index, axes], output))
            outputs[f"{kind} {index}"] = output
    edit.place_behind(model, behind)
    edit.set_outputs(model, outputs)
    edit.write(model, target)
    return target


def _channel_ranges(run: Runner, data: FittingData, graph: Graph) -> dict[int, _ChannelRanges]:
    samples, calls = data
    peaks: dict[int, list[np.ndarray]] = {}
    for answers in map(run, samples.calls(calls)):
        for index in {int(name.split()[1]) for name in answers}:
            ends = np.abs([answers[f"REDUCE_MIN {index}"], answers[f"REDUCE_MAX {index}"]])
            peaks.setdefault(index, []).append(ends.max(0))
    ranges = {}
    for index, rows in peaks.items():
        values = prod(graph.subgraphs[0].tensors[index].shape[:-1])
        ranges[index] = _ChannelRanges(np.max(rows, axis=0), values * np.count_nonzero(rows, axis=0))
    return ranges


def _factors(group: _TiedActivations, channels: dict[int, _ChannelRanges]) -> dict[int, np.ndarray]:
    """Return the factors of the channels of each activation of the group, [channels], at least 1."""
    ranges = [channels[index] for index in sorted(group.tensors)]
    size = np.max([each.size for each in ranges], axis=0).astype(np.float64)
    factor = channel_factors(size, np.max([each.count for each in ranges], axis=0))
    if factor is None:
        return {}
    if group.has_ceiling:
        factor = np.minimum(factor, np.maximum(SIX / (floored(size) * RELU6_MARGIN), 1))
    return dict.fromkeys(sorted(group.tensors), factor)


def _rescale(model: Any, layer: Layer, factors: dict[int, np.ndarray]) -> None:
    operator, weights, roles = layer.operator, np.asarray(layer.weights.data, np.float64), ROLES[layer.operator.type]
    output_factor, input_factor = factors.get(operator.outputs[0]), factors.get(layer.activation.index)
    if output_factor is not None:
        shape = [-1 if dimension == roles.channels else 1 for dimension in range(weights.ndim)]
        weights = weights * output_factor.reshape(shape)
    if input_factor is not None:
        weights = weights / np.repeat(input_factor, weights.shape[-1] // len(input_factor))
    if output_factor is not None or input_factor is not None:
        edit.set_constant(model, (operator.index, roles.weights), weights)
    if output_factor is not None and layer.bias is not None:
        edit.set_constant(model, (operator.index, roles.bias), np.asarray(layer.bias.data) * output_factor)


EQUALIZATION = ModelCorrection(
    key="equalization",
    in_words="equalization",
    is_compared_for_int16=False,
    stage="equalize the channels",
    participle="equalized",
    rewrite=equalize,
)
