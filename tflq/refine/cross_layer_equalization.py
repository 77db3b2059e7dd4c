"""Cross-layer equalization: channels of one activation are brought nearer in size, which no output shows.

A channel that is made s times as large where it arises is made as much smaller again by the weights that read it
(Nagel et al. 2019, arXiv:1906.04721, section 4.1; here for activations, since it is them that have one scale for all
channels). Between the two stand only ops that pass a factor on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tflq.calibrate import Samples, activations
from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph, edit, read
from tflq.interpreter import Runner
from tflq.refine.weighted_ops import DENSE, Layer, layers
from tflq.worker import ProgressCallback

EQUALIZATION_STRENGTH = 0.75
"""How far sizes are brought together: 1 would make them equal, and clip what is rarely large."""
MAX_FACTOR = 32.0
VALUES_PER_GAIN = 4
"""Values that must show how large a channel is for each time its own size that it may grow: what was hardly ever seen
may well be larger elsewhere, and one channel that is has the range of all."""
SIX, RELU6_MARGIN = 6.0, 1.1
"""Where RELU6 ends; a channel may grow until it was that much below it, and what is cut off then was never seen."""
PASSING = {
    *("RELU", "RELU6", "LEAKY_RELU", "PRELU", "MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "RESHAPE", "MEAN"),
    *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
}
"""Ops that pass a positive factor of a channel on, from their first input to their output."""
ADDING = {"ADD", "SUB"}
_FUSED = {"NONE", "RELU", "RELU6"}


@dataclass
class _TiedActivations:
    """Activations whose channels have to be scaled alike."""

    tensors: set[int] = field(default_factory=set)
    is_free: bool = True
    """Whether all that makes and reads them lets them be scaled."""
    has_ceiling: bool = False
    """Whether a RELU6 makes one of them."""


@dataclass(frozen=True)
class _ChannelRanges:
    """The channels of one activation, [channels]."""

    size: np.ndarray
    """The largest magnitude."""
    shown: np.ndarray
    """By how many values: those of the calls in which the channel is not 0 throughout."""


@dataclass(frozen=True)
class EqualizedModel:
    """The equalized float32 file, and how many activations have their channels nearer together."""

    path: Path
    tensors: int


def equalize(
    report: ProgressCallback, float32: Path, data: tuple[Samples, Sequence[int]], target: Path
) -> EqualizedModel:
    """Write the file with its channels equalized; it answers as before, within float rounding."""
    content = float32.read_bytes()
    graph, model = read(content), edit.unpack(content)
    found = {layer.operator.index: layer for layer in layers(graph, edit.unpack(content))}
    classes = [one for one in _tied_activations(graph, found) if one.is_free]
    shown = _expose(
        content, graph, [index for one in classes for index in one.tensors], target.with_suffix(".channels")
    )
    channels = _channel_ranges(Runner(shown), data, graph)
    shown.unlink()
    factors = {index: factor for one in classes for index, factor in _factors(one, channels).items()}
    for layer in found.values():
        _rescale(model, layer, factors)
    edit.write(model, target)
    report(1, 1)
    return EqualizedModel(target, len(factors))


def _tied_activations(graph: Graph, found: dict[int, Layer]) -> list[_TiedActivations]:
    subgraph = graph.subgraphs[0]
    by_tensor = {index: _TiedActivations({index}) for index in activations(graph)}
    for operator in subgraph.operators:
        touched = [index for index in (*operator.inputs, *operator.outputs) if index in by_tensor]
        layer = found.get(operator.index)
        if layer is None and _passes(subgraph, operator):
            by_tensor |= dict.fromkeys((merged := _merged([by_tensor[index] for index in touched])).tensors, merged)
        elif layer is None or not _has_channels(layer):
            for index in touched:
                by_tensor[index].is_free &= layer is not None and index in operator.outputs
        for made in (by_tensor[index] for index in operator.outputs if index in by_tensor):
            made.is_free &= operator.fused in _FUSED
            made.has_ceiling |= "RELU6" in (operator.fused, operator.type)
    for index in (*subgraph.inputs, *subgraph.outputs):
        if index in by_tensor:
            by_tensor[index].is_free = False
    return list({id(one): one for one in by_tensor.values()}.values())


def _has_channels(layer: Layer) -> bool:
    """Whether its weights tell the channels of what it reads apart; a dense layer may read several pixels at once."""
    return layer.operator.type != DENSE or layer.activation.shape[-1] == layer.weights.shape[-1]


def _merged(classes: Sequence[_TiedActivations]) -> _TiedActivations:
    tensors = {index for one in classes for index in one.tensors}
    return _TiedActivations(tensors, all(one.is_free for one in classes), any(one.has_ceiling for one in classes))


def _passes(subgraph: Subgraph, operator: Operator) -> bool:
    """Whether a factor of a channel of what it reads is one of the same channel of what it makes."""
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
    """The model whose outputs are the extremes of each channel of those activations."""
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


def _channel_ranges(run: Runner, data: tuple[Samples, Sequence[int]], graph: Graph) -> dict[int, _ChannelRanges]:
    samples, calls = data
    peaks: dict[int, list[np.ndarray]] = {}
    for answers in map(run, samples.calls(calls)):
        for index in {int(name.split()[1]) for name in answers}:
            ends = np.abs([answers[f"REDUCE_MIN {index}"], answers[f"REDUCE_MAX {index}"]])
            peaks.setdefault(index, []).append(ends.max(0))
    found = {}
    for index, rows in peaks.items():
        values = prod(graph.subgraphs[0].tensors[index].shape[:-1])
        found[index] = _ChannelRanges(np.max(rows, axis=0), values * np.count_nonzero(rows, axis=0))
    return found


def _factors(one: _TiedActivations, channels: dict[int, _ChannelRanges]) -> dict[int, np.ndarray]:
    """By what each channel of each activation of the class is multiplied, at least 1."""
    alike = [channels[index] for index in sorted(one.tensors)]
    size = np.max([each.size for each in alike], axis=0).astype(np.float64)
    most = np.clip(np.max([each.shown for each in alike], axis=0) / VALUES_PER_GAIN, 1, MAX_FACTOR)
    if not 0 < size.max() < np.inf:
        return {}
    room = np.maximum(size, size.max() * 1e-6)
    factor = np.minimum((size.max() / room) ** EQUALIZATION_STRENGTH, most)
    if one.has_ceiling:
        factor = np.minimum(factor, np.maximum(SIX / (room * RELU6_MARGIN), 1))
    return dict.fromkeys(sorted(one.tensors), factor)


def _rescale(model: Any, layer: Layer, factors: dict[int, np.ndarray]) -> None:
    operator, weights, roles = layer.operator, np.asarray(layer.weights.data, np.float64), ROLES[layer.operator.type]
    made, read_ = factors.get(operator.outputs[0]), factors.get(layer.activation.index)
    if made is not None:
        shape = [-1 if dimension == roles.channels else 1 for dimension in range(weights.ndim)]
        weights = weights * made.reshape(shape)
    if read_ is not None:
        weights = weights / np.repeat(read_, weights.shape[-1] // len(read_))
    if made is not None or read_ is not None:
        edit.set_constant(model, (operator.index, roles.weights), weights)
    if made is not None and layer.bias is not None:
        edit.set_constant(model, (operator.index, roles.bias), np.asarray(layer.bias.data) * made)
