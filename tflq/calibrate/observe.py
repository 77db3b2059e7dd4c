"""Exact ranges: the float model itself, with the minimum and maximum of every activation among its outputs.

Reductions stand right behind what they reduce, so that they read what is still in the processor's cache.
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
from tflq.interpreter import Runner
from tflq.worker import ProgressCallback

BLOCK = 16
"""Calls whose means are summed together: the order of all sums is the same with any number of shards."""
CONTROL_FLOW = {"WHILE", "IF", "CALL_ONCE", "CALL", "STABLEHLO_WHILE"}
WITH_INTERMEDIATES = {"UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM"}


def obstacle(graph: Graph) -> str | None:
    """Why the activations of this model cannot be observed from within; None where they can."""
    custom = [operator.type for _, operator in graph.operators() if operator.is_custom]
    if custom:
        return f"it has the custom op {custom[0]}"
    types = {operator.type for _, operator in graph.operators()}
    for found, said in (
        (types & CONTROL_FLOW, "has bodies of control flow"),
        (types & WITH_INTERMEDIATES, "keeps its activations to itself"),
    ):
        if found:
            return f"its {min(found)} {said}"
    if len(graph.subgraphs) > 1:
        return "it has several subgraphs"
    unknown = [tensor.name for tensor in graph.subgraphs[0].tensors if tensor.is_float and not tensor.has_rank]
    return f"the rank of its tensor {unknown[0]!r} is not known" if unknown else None


def activations(graph: Graph) -> tuple[int, ...]:
    """The float tensors of the first subgraph that depend on the input."""
    (subgraph, *_) = graph.subgraphs
    made = {*subgraph.inputs, *(index for operator in subgraph.operators for index in operator.outputs)}
    return tuple(
        t.index
        for t in subgraph.tensors
        if t.index in made and t.dtype == "float32" and not (t.is_constant or t.is_variable or 0 in t.shape)
    )


def observable(float32: Path, target: Path) -> Path:
    """The model whose outputs are `min N` and `max N` of each activation N, and `mean N` over all but its channels."""
    content = float32.read_bytes()
    graph, model = read(content), edit.unpack(content)
    chosen, (subgraph, *_) = activations(graph), graph.subgraphs
    ends = [tensor for tensor in map(subgraph.tensors.__getitem__, subgraph.outputs) if _has_channels(tensor)]
    means = {tensor.index: tuple(range(len(tensor.shape) - 1)) for tensor in ends}
    means |= dict(_channel_axes(subgraph))
    outputs: dict[str, int] = {}
    behind: dict[int, list[Any]] = {}
    axes = _Axes(model)
    for index in chosen:
        shape = subgraph.tensors[index].shape
        wanted = {"min": ("REDUCE_MIN", tuple(range(len(shape)))), "max": ("REDUCE_MAX", tuple(range(len(shape))))}
        if index in means:
            wanted["mean"] = ("MEAN", means[index])
        for name, (type_, over) in wanted.items():
            output = index
            if over:
                output = edit.add_tensor(model, f"{name} {index}", [n for i, n in enumerate(shape) if i not in over])
                behind.setdefault(index, []).append(edit.reduction(model, type_, [index, axes.constant(over)], output))
            outputs[f"{name} {index}"] = output
    edit.place_behind(model, behind)
    edit.set_outputs(model, outputs)
    edit.write(model, target)
    return target


class _Axes:
    """Constants of axes, each added to the model once."""

    def __init__(self, model: Any) -> None:
        self._model, self._known = model, dict[tuple[int, ...], int]()

    def constant(self, axes: tuple[int, ...]) -> int:
        if axes not in self._known:
            self._known[axes] = edit.add_constant(self._model, f"axes {axes}", np.array(axes))
        return self._known[axes]


def exposed(float32: Path, target: Path) -> Path:
    """The model whose outputs are all activations, by their numbers."""
    content = float32.read_bytes()
    model = edit.unpack(content)
    edit.set_outputs(model, {str(index): index for index in activations(read(content))})
    edit.write(model, target)
    return target


def _has_channels(tensor: Tensor) -> bool:
    """Whether its last dimension is always as long."""
    return tensor.shape_signature[-1:] != (-1,)


def _channel_axes(subgraph: Subgraph) -> Iterator[tuple[int, tuple[int, ...]]]:
    """For the activation that each op with weights reads, the axes that are no channels of the weights."""
    for operator in subgraph.operators:
        roles = ROLES.get(operator.type)
        tensor = subgraph.input(operator, roles.activation) if roles else None
        if tensor is not None and len(tensor.shape) > 1 and not tensor.is_constant:
            yield tensor.index, (0,) if _is_flattened(subgraph, operator) else tuple(range(len(tensor.shape) - 1))


def _is_flattened(subgraph: Subgraph, operator: Operator) -> bool:
    """Whether a dense layer reads all but the batch as its channels."""
    data, weights = subgraph.read_by(operator)[:2]
    return operator.type == "FULLY_CONNECTED" and weights.shape[-1] != data.shape[-1]


@dataclass(frozen=True)
class Part:
    """What a run of calls showed."""

    minima: np.ndarray
    """[calls, tensors]"""
    maxima: np.ndarray
    sums: Mapping[int, np.ndarray]
    """For each tensor that has one its mean per channel, summed over the calls of each block, [blocks, channels]."""
    is_finite: np.ndarray
    """[calls]: of the means too, since minima and maxima may pass over NaN."""


@dataclass(frozen=True)
class Observation:
    """What every float activation was on every call."""

    tensors: tuple[int, ...]
    """Their indices in the first subgraph."""
    minima: np.ndarray
    """float32 [calls, tensors]"""
    maxima: np.ndarray
    means: Mapping[int, np.ndarray]
    """The mean per channel of what ops with weights read, and of outputs: tensor → float64 [channels]."""
    is_finite: np.ndarray
    """[calls]: whether all activations were."""


def observe(report: ProgressCallback, float32: Path, samples: Samples, calls: range) -> Part:
    """Run the model over those calls, the first of which begins a block."""
    run, parts = Runner(observable(float32, samples.folder / f"observable-{calls.start}.tflite")), []
    for start in calls[::BLOCK]:
        block = range(start, min(start + BLOCK, calls.stop))
        parts.append(_part([run(arrays) for arrays in samples.calls(block)]))
        report(block.stop - calls.start, len(calls))
    return _joined(parts)


def _part(block: Sequence[Mapping[str, np.ndarray]]) -> Part:
    def columns(which: str) -> dict[int, np.ndarray]:
        """[calls, values] of each tensor, in the order of their numbers; the runner's is that of their names."""
        numbers = sorted(int(name.split()[1]) for name in block[0] if name.startswith(which))
        return {n: np.stack([outputs[f"{which} {n}"].reshape(-1) for outputs in block]) for n in numbers}

    return Part(
        np.concatenate(list(columns("min").values()), axis=1),
        np.concatenate(list(columns("max").values()), axis=1),
        {tensor: rows.astype(np.float64).sum(0, keepdims=True) for tensor, rows in columns("mean").items()},
        np.array([all(np.isfinite(values).all() for values in outputs.values()) for outputs in block]),
    )


def _joined(parts: Sequence[Part]) -> Part:
    return Part(
        np.concatenate([part.minima for part in parts]),
        np.concatenate([part.maxima for part in parts]),
        {tensor: np.concatenate([part.sums[tensor] for part in parts]) for tensor in parts[0].sums},
        np.concatenate([part.is_finite for part in parts]),
    )


def merge(graph: Graph, parts: Sequence[Part]) -> Observation:
    """The parts, in the order of their calls, as one."""
    tensors, whole = activations(graph), _joined(parts)
    means = {tensor: sums.sum(0) / len(whole.minima) for tensor, sums in whole.sums.items()}
    return Observation(tensors, whole.minima, whole.maxima, means, whole.is_finite)


def shards(calls: int, count: int) -> list[range]:
    """At most `count` runs of calls, each of whole blocks."""
    blocks = math.ceil(calls / BLOCK)
    bounds = [round(i * blocks / min(count, blocks)) * BLOCK for i in range(min(count, blocks) + 1)]
    return [range(start, min(stop, calls)) for start, stop in pairwise(bounds)]
