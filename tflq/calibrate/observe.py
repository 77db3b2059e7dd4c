"""Observe the activations of the float32 file: add minimum and maximum ops to the model, and run all samples.

Each reduction stands right behind the op whose output it reduces. The output is then still in the processor's cache.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tflq import cache
from tflq.calibrate.samples import Samples
from tflq.flatbuffer import Graph, Subgraph, edit, mapped, read
from tflq.flatbuffer.loops import CONTROL_FLOW, LOOP, WITH_INTERMEDIATES, loop_obstacle
from tflq.interpreter import Runner
from tflq.worker import ProgressCallback

KEEPS_FINITE = {
    *("ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CONCATENATION", "CONV_2D"),
    *("CONV_3D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE", "ELU", "EXP", "EXPAND_DIMS", "FULLY_CONNECTED"),
    *("GATHER", "GATHER_ND", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN"),
    *("MINIMUM", "MIRROR_PAD", "MUL", "NEG", "PACK", "PAD", "PADV2", "PRELU", "REDUCE_MAX", "REDUCE_MIN", "RELU"),
    *("RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SELECT", "SELECT_V2"),
    *("SLICE", "SOFTMAX", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUARE", "SQUARED_DIFFERENCE"),
    *("SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE", "TRANSPOSE", "TRANSPOSE_CONV", "UNPACK"),
}
"""Ops that compute no NaN from finite inputs. Most ops are of these, and a check of each would take time."""
MIN_CALLS_OF_SHARD = 8
"""The least number of calls for which another process is useful."""


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

    Where NaN may arise, there is a `mean N`, too: a minimum and a maximum may skip NaN, and the next op may hide it.
    """
    content = float32.read_bytes()
    graph, model = read(content), edit.unpack(content)
    (subgraph, *_) = graph.subgraphs
    checked = {*subgraph.outputs, *_origins_of_nan(subgraph)}
    outputs: dict[str, int] = {}
    added: dict[int, list[Any]] = {}
    axes = _Axes(model)
    for index in activations(graph):
        over = tuple(range(len(subgraph.tensors[index].shape)))
        kinds = {"min": "REDUCE_MIN", "max": "REDUCE_MAX"} | ({"mean": "MEAN"} if index in checked else {})
        for name, type_ in kinds.items():
            output = index
            if over:
                output = edit.add_tensor(model, f"{name} {index}", [])
                added.setdefault(index, []).append(edit.reduction(model, type_, [index, axes.constant(over)], output))
            outputs[f"{name} {index}"] = output
    edit.place_behind(model, added)
    edit.set_outputs(model, outputs)
    edit.write(model, target)
    return target


def _origins_of_nan(subgraph: Subgraph) -> Iterator[int]:
    """Yield the outputs of ops that may compute NaN from finite inputs, or that read a constant that is not finite."""
    for operator in subgraph.operators:
        floats = [tensor.data for tensor in subgraph.read_by(operator) if tensor.is_float and tensor.data is not None]
        if operator.type not in KEEPS_FINITE or not all(np.isfinite(constant).all() for constant in floats):
            yield from operator.outputs


class _Axes:
    """Constants that hold axes. Each is added to the model once."""

    def __init__(self, model: Any) -> None:
        self._model, self._constants = model, dict[tuple[int, ...], int]()

    def constant(self, axes: tuple[int, ...]) -> int:
        if axes not in self._constants:
            self._constants[axes] = edit.add_constant(self._model, f"axes {axes}", np.array(axes))
        return self._constants[axes]


def with_activation_outputs(float32: Path, folder: Path) -> Path:
    """Return the model with all activations as outputs, named by their indices, from a file in the folder.

    It is written once for each float32 file. Several processes may do so at a time.
    """
    target = folder / f"exposed {cache.identity([float32])[:16]}.tflite"
    if not target.exists():
        content, written = float32.read_bytes(), target.with_suffix(f".{os.getpid()}")
        model = edit.unpack(content)
        edit.set_outputs(model, {str(index): index for index in activations(read(content))})
        edit.write(model, written)
        written.replace(target)
    return target


@dataclass(frozen=True)
class ObservationShard:
    """The observation of consecutive calls."""

    minima: np.ndarray
    """float32 [calls, tensors]"""
    maxima: np.ndarray
    """float32 [calls, tensors]"""
    is_finite: np.ndarray
    """bool [calls]: whether all minima, maxima and means are finite. Minima and maxima alone may skip NaN."""


@dataclass(frozen=True)
class Observation:
    """The extremes of every float activation on every call."""

    tensors: tuple[int, ...]
    """The indices of the activations in the first subgraph."""
    minima: np.ndarray
    """float32 [calls, tensors]"""
    maxima: np.ndarray
    """float32 [calls, tensors]"""
    is_finite: np.ndarray
    """bool [calls]: whether all activations are finite."""


def observe(report: ProgressCallback, float32: Path, samples: Samples, calls: range) -> ObservationShard:
    """Run the model over those calls. EvaluationError if LiteRT fails."""
    run = Runner(add_min_max_outputs(float32, samples.folder / f"observable-{calls.start}.tflite"))
    tensors, minima, maxima, is_finite = activations(mapped(float32)), [], [], []
    for done, arrays in enumerate(samples.calls(calls), 1):
        outputs = run(arrays)
        minima.append([outputs[f"min {index}"].item() for index in tensors])
        maxima.append([outputs[f"max {index}"].item() for index in tensors])
        is_finite.append(all(np.isfinite(values).all() for values in outputs.values()))
        report(done, len(calls))
    return ObservationShard(np.array(minima, np.float32), np.array(maxima, np.float32), np.array(is_finite))


def _concatenate(shards: Sequence[ObservationShard]) -> ObservationShard:
    return ObservationShard(
        np.concatenate([shard.minima for shard in shards]),
        np.concatenate([shard.maxima for shard in shards]),
        np.concatenate([shard.is_finite for shard in shards]),
    )


def merge(graph: Graph, shards: Sequence[ObservationShard]) -> Observation:
    """Return one observation of all shards, which are in the order of their calls."""
    tensors, whole = activations(graph), _concatenate(shards)
    return Observation(tensors, whole.minima, whole.maxima, whole.is_finite)


def shards(calls: int, count: int) -> list[range]:
    """Divide the calls into at most `count` consecutive ranges of about the same length."""
    parts = min(count, math.ceil(calls / MIN_CALLS_OF_SHARD))
    return [range(start, stop) for start, stop in pairwise(part * calls // parts for part in range(parts + 1))]
