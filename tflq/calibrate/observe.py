"""Observe the activations of the float32 file: add minimum and maximum ops to the model, and run all samples.

Each reduction stands right behind the op whose output it reduces. The output is then still in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tflq.calibrate.samples import Samples
from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph, Tensor, edit, read
from tflq.flatbuffer.loops import CONTROL_FLOW, LOOP, WITH_INTERMEDIATES, loop_obstacle
from tflq.interpreter import Runner
from tflq.worker import ProgressCallback

BLOCK = 8
"""The number of calls whose means are summed together. The order of all sums is the same with any number of shards."""


def obstacle(graph: Graph) -> str | None:
    """Return why the activations of this model cannot be observed, as a clause. Return None if they can."""
    custom = [operator.type for _, operator in graph.operators() if operator.is_custom]
    if custom:
        return f"it has the custom op {custom[0]}"
    types = {operator.type for _, operator in graph.operators()}
    if LOOP in types and loop_obstacle(graph) is None:
        return _unknown_rank(graph)
    for matches, explanation in (
        (types & CONTROL_FLOW, "has bodies of control flow"),
        (types & WITH_INTERMEDIATES, "keeps its activations to itself"),
    ):
        if matches:
            return f"its {min(matches)} {explanation}"
    if len(graph.subgraphs) > 1:
        return "it has several subgraphs"
    return _unknown_rank(graph)


def _unknown_rank(graph: Graph) -> str | None:
    tensors = [tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors]
    unknown = [tensor.name for tensor in tensors if tensor.is_float and not tensor.has_rank]
    return f"the rank of its tensor {unknown[0]!r} is not known" if unknown else None


def activations(graph: Graph) -> tuple[int, ...]:
    """Return the indices of the float32 tensors of the first subgraph that are inputs or outputs of ops.

    Constants, variables and empty tensors are left out.
    """
    (subgraph, *_) = graph.subgraphs
    computed = {*subgraph.inputs, *(index for operator in subgraph.operators for index in operator.outputs)}
    return tuple(
        t.index
        for t in subgraph.tensors
        if t.index in computed and t.dtype == "float32" and not (t.is_constant or t.is_variable or 0 in t.shape)
    )


def add_min_max_outputs(float32: Path, target: Path) -> Path:
    """Write the model with the outputs `min N` and `max N` for each activation N to `target`, and return that path.

    Model outputs and inputs of ops with weights also get `mean N`: the mean per channel.
    """
    content = float32.read_bytes()
    graph, model = read(content), edit.unpack(content)
    (subgraph, *_) = graph.subgraphs
    ends = [tensor for tensor in map(subgraph.tensors.__getitem__, subgraph.outputs) if _has_channels(tensor)]
    means = {tensor.index: tuple(range(len(tensor.shape) - 1)) for tensor in ends}
    means |= dict(_channel_axes(subgraph))
    outputs: dict[str, int] = {}
    added: dict[int, list[Any]] = {}
    axes = _Axes(model)
    for index in activations(graph):
        shape = subgraph.tensors[index].shape
        reductions = {"min": ("REDUCE_MIN", tuple(range(len(shape)))), "max": ("REDUCE_MAX", tuple(range(len(shape))))}
        if index in means:
            reductions["mean"] = ("MEAN", means[index])
        for name, (type_, over) in reductions.items():
            output = index
            if over:
                output = edit.add_tensor(model, f"{name} {index}", [n for i, n in enumerate(shape) if i not in over])
                added.setdefault(index, []).append(edit.reduction(model, type_, [index, axes.constant(over)], output))
            outputs[f"{name} {index}"] = output
    edit.place_behind(model, added)
    edit.set_outputs(model, outputs)
    edit.write(model, target)
    return target


class _Axes:
    """Constants that hold axes. Each is added to the model once."""

    def __init__(self, model: Any) -> None:
        self._model, self._constants = model, dict[tuple[int, ...], int]()

    def constant(self, axes: tuple[int, ...]) -> int:
        if axes not in self._constants:
            self._constants[axes] = edit.add_constant(self._model, f"axes {axes}", np.array(axes))
        return self._constants[axes]


def add_activation_outputs(float32: Path, target: Path) -> Path:
    """Write the model with all activations as outputs, named by their indices, to `target`, and return that path."""
    content = float32.read_bytes()
    model = edit.unpack(content)
    edit.set_outputs(model, {str(index): index for index in activations(read(content))})
    edit.write(model, target)
    return target


def _has_channels(tensor: Tensor) -> bool:
    """Return whether the size of the last dimension is fixed."""
    return tensor.shape_signature[-1:] != (-1,)


def _channel_axes(subgraph: Subgraph) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the activation that each op with weights reads, and its axes that are not input channels of the weights."""
    for operator in subgraph.operators:
        roles = ROLES.get(operator.type)
        tensor = subgraph.input(operator, roles.activation) if roles else None
        if tensor is not None and len(tensor.shape) > 1 and not tensor.is_constant:
            yield tensor.index, (0,) if _is_flattened(subgraph, operator) else tuple(range(len(tensor.shape) - 1))


def _is_flattened(subgraph: Subgraph, operator: Operator) -> bool:
    """Return whether a dense layer reads all axes but the batch as its channels."""
    data, weights = subgraph.read_by(operator)[:2]
    return operator.type == "FULLY_CONNECTED" and weights.shape[-1] != data.shape[-1]


@dataclass(frozen=True)
class ObservationShard:
    """The observation of consecutive calls."""

    minima: np.ndarray
    """float32 [calls, tensors]"""
    maxima: np.ndarray
    """float32 [calls, tensors]"""
    sums: Mapping[int, np.ndarray]
    """The means per channel of a tensor, summed over the calls of each block: tensor → float64 [blocks, channels]."""
    is_finite: np.ndarray
    """bool [calls]: whether all minima, maxima and means are finite. Minima and maxima alone may skip NaN."""


@dataclass(frozen=True)
class Observation:
    """The extremes of every float activation on every call, and the means of some."""

    tensors: tuple[int, ...]
    """The indices of the activations in the first subgraph."""
    minima: np.ndarray
    """float32 [calls, tensors]"""
    maxima: np.ndarray
    """float32 [calls, tensors]"""
    means: Mapping[int, np.ndarray]
    """The mean per channel of model outputs and of inputs of ops with weights: tensor → float64 [channels]."""
    is_finite: np.ndarray
    """bool [calls]: whether all activations are finite."""


def observe(report: ProgressCallback, float32: Path, samples: Samples, calls: range) -> ObservationShard:
    """Run the model over those calls. The first call must begin a block. EvaluationError if LiteRT fails."""
    run = Runner(add_min_max_outputs(float32, samples.folder / f"observable-{calls.start}.tflite"))
    blocks = []
    for start in calls[::BLOCK]:
        block = range(start, min(start + BLOCK, calls.stop))
        blocks.append(_observe_block([run(arrays) for arrays in samples.calls(block)]))
        report(block.stop - calls.start, len(calls))
    return _concatenate(blocks)


def _observe_block(block: Sequence[Mapping[str, np.ndarray]]) -> ObservationShard:
    def columns(kind: str) -> dict[int, np.ndarray]:
        """Return [calls, values] of each tensor, in the order of their indices. The runner's order is by name."""
        indices = sorted(int(name.split()[1]) for name in block[0] if name.startswith(kind))
        return {i: np.stack([outputs[f"{kind} {i}"].reshape(-1) for outputs in block]) for i in indices}

    return ObservationShard(
        np.concatenate(list(columns("min").values()), axis=1),
        np.concatenate(list(columns("max").values()), axis=1),
        {tensor: rows.astype(np.float64).sum(0, keepdims=True) for tensor, rows in columns("mean").items()},
        np.array([all(np.isfinite(values).all() for values in outputs.values()) for outputs in block]),
    )


def _concatenate(shards: Sequence[ObservationShard]) -> ObservationShard:
    return ObservationShard(
        np.concatenate([shard.minima for shard in shards]),
        np.concatenate([shard.maxima for shard in shards]),
        {tensor: np.concatenate([shard.sums[tensor] for shard in shards]) for tensor in shards[0].sums},
        np.concatenate([shard.is_finite for shard in shards]),
    )


def merge(graph: Graph, shards: Sequence[ObservationShard]) -> Observation:
    """Return one observation of all shards, which are in the order of their calls."""
    tensors, whole = activations(graph), _concatenate(shards)
    means = {tensor: sums.sum(0) / len(whole.minima) for tensor, sums in whole.sums.items()}
    return Observation(tensors, whole.minima, whole.maxima, means, whole.is_finite)


def shards(calls: int, count: int) -> list[range]:
    """Divide the calls into at most `count` consecutive ranges of whole blocks."""
    blocks = math.ceil(calls / BLOCK)
    bounds = [round(i * blocks / min(count, blocks)) * BLOCK for i in range(min(count, blocks) + 1)]
    return [range(start, min(stop, calls)) for start, stop in pairwise(bounds)]
