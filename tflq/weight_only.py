"""The contract of weight-only quantization: which weights stay in float and why, and which ops are hybrid."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from tflq.contract import DYNAMIC_RANGE_MINIMUM_ELEMENTS, NAMED_BY_RECIPE, FloatOp, broken, tensors

if TYPE_CHECKING:  # modes are read with a recipe, but then no .tflite file is read
    from tflq.flatbuffer import Graph, Operator, Subgraph, Tensor
    from tflq.rules.violation import Violation

DENSE = "FULLY_CONNECTED"
"""The only op with kernels for int4 weights in blocks."""
BLOCK = 32
"""The number of int4 weights that share a scale."""
DENSE_SHARE = 0.5
"""The least share of such weights among all constants, in bytes of float32."""
LARGEST_IN_BLOCKS = 1e5
"""The largest magnitude of weights in blocks, whose scales are float16."""
NOT_FINITE = "its weights hold values that are not finite"
MISSED = "its weights could be int8"


def float_weights(graph: Graph, kept: Collection[int] = ()) -> Iterator[FloatOp]:
    """Yield each op with weights that are stored in float, with the reason.

    `kept` holds the indices of the ops of the main graph that keep_float names.
    """
    for subgraph, operator in graph.operators():
        stored = [tensor for tensor in _weights(subgraph, operator) if tensor.is_constant and tensor.is_float]
        if stored:
            outputs = subgraph.written_by(operator) or stored
            is_kept = subgraph.index == 0 and operator.index in kept
            reason = NAMED_BY_RECIPE if is_kept else _reason(max(stored, key=_elements))
            yield FloatOp(operator.type, outputs[0].name, reason)


def dense_weights(graph: Graph, kept: Collection[int] = ()) -> list[tuple[int, int]]:
    """Return the constants of a float32 graph that can be int4 in blocks, each as its subgraph and its index.

    Only dense layers may read them, as weights. `kept` holds the indices of ops of the main graph that are no readers.
    """
    found: dict[tuple[int, int], None] = {}
    others = {(subgraph.index, index) for subgraph in graph.subgraphs for index in subgraph.outputs}
    for subgraph, operator in graph.operators():
        is_dense = operator.type == DENSE and not (subgraph.index == 0 and operator.index in kept)
        for position, index in enumerate(operator.inputs):
            weights = subgraph.input(operator, position)
            if weights is not None and is_dense and position == 1 and _fits_blocks(weights):
                found[subgraph.index, index] = None
            else:
                others.add((subgraph.index, index))
    return [place for place in found if place not in others]


def share_of_dense(graph: Graph, chosen: Collection[tuple[int, int]]) -> float:
    """Return the share of these constants among all float32 constants of the graph, in bytes, from 0 to 1."""
    sizes = {
        (subgraph.index, tensor.index): _elements(tensor)
        for subgraph in graph.subgraphs
        for tensor in subgraph.tensors
        if tensor.is_constant and tensor.dtype == "float32"
    }
    return sum(sizes[place] for place in chosen) / max(sum(sizes.values()), 1)


def wrong_blocks(graph: Graph) -> Iterator[Violation]:
    """Yield a violation for each int4 constant that is not in blocks with usable scales, and if most are not int4."""
    weights = [each for each in tensors(graph) if each.is_constant and each.dtype in ("float32", "int8", "int4")]
    int4 = [tensor for tensor in weights if tensor.dtype == "int4"]
    share = sum(map(_elements, int4)) / max(sum(map(_elements, weights)), 1)
    if share < DENSE_SHARE:
        yield broken("the file", f"has only {share:.0%} of its weights in int4, but should have {DENSE_SHARE:.0%}")
    for tensor in int4:
        blocks = tensor.quantization.blocks if tensor.quantization else None
        scales = np.zeros(1) if blocks is None else np.asarray(blocks.scales, np.float64)
        if blocks is None or blocks.size != BLOCK or not np.isfinite(scales).all() or scales.min() <= 0:
            yield broken(tensor.name, f"is int4, but not in blocks of {BLOCK} values, each with a scale above 0")


def outside_weights(graph: Graph) -> Iterator[Violation]:
    """Yield a violation if constants follow the flatbuffer, where few runtimes read them."""
    if graph.outside_buffers:
        yield broken("the file", f"has {len(graph.outside_buffers)} buffers outside the flatbuffer")


def missed_weights(graph: Graph, kept: Collection[int] = ()) -> Iterator[Violation]:
    """Yield a violation for each op with weights that should be int8, but are stored in float."""
    for op in float_weights(graph, kept):
        if op.reason == MISSED:
            yield broken(f"{op.type} {op.tensor!r}", "has float weights, though they could be int8")


def hybrid_ops(graph: Graph) -> Iterator[Violation]:
    """Yield a violation for each op that reads float activations and int8 weights, which quantizes its activations."""
    for subgraph, operator in graph.operators():
        weights = [tensor for tensor in _weights(subgraph, operator) if tensor.dtype == "int8"]
        if weights and any(tensor.is_float for tensor in subgraph.written_by(operator)):
            name = subgraph.written_by(operator)[0].name
            yield broken(f"{operator.type} {name!r}", "reads int8 weights and so quantizes its activations at run time")


def _weights(subgraph: Subgraph, operator: Operator) -> list[Tensor]:
    from tflq.flatbuffer import WEIGHT_POSITIONS

    found = (subgraph.input(operator, position) for position in WEIGHT_POSITIONS.get(operator.type, ()))
    return [tensor for tensor in found if tensor is not None]


def _fits_blocks(weights: Tensor) -> bool:
    """Return whether these weights can be int4 in blocks: they are enough, finite, and whole blocks a row."""
    shape = weights.shape
    if weights.data is None or weights.is_sparse or weights.dtype != "float32" or len(shape) != 2:
        return False
    is_large = _elements(weights) >= DYNAMIC_RANGE_MINIMUM_ELEMENTS
    return is_large and shape[1] % BLOCK == 0 and bool(np.abs(weights.data).max() <= LARGEST_IN_BLOCKS)


def _elements(tensor: Tensor) -> int:
    return math.prod(tensor.shape)


def _reason(weights: Tensor) -> str:
    """Return why these weights stay in float."""
    if _elements(weights) < DYNAMIC_RANGE_MINIMUM_ELEMENTS:
        return f"its weights have fewer than {DYNAMIC_RANGE_MINIMUM_ELEMENTS:,} elements"
    if not np.isfinite(np.asarray(weights.data)).all():
        return NOT_FINITE
    return MISSED
