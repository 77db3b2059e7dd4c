"""The contract of weight-only quantization: which weights stay in float and why, and which ops are hybrid."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from tflq.contract import DYNAMIC_RANGE_MINIMUM_ELEMENTS, NAMED_BY_RECIPE, FloatOp, broken

if TYPE_CHECKING:  # modes are read with a recipe, but then no .tflite file is read
    from tflq.flatbuffer import Graph, Operator, Subgraph, Tensor
    from tflq.rules import Violation

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


def _elements(tensor: Tensor) -> int:
    return math.prod(tensor.shape)


def _reason(weights: Tensor) -> str:
    """Return why these weights stay in float."""
    if _elements(weights) < DYNAMIC_RANGE_MINIMUM_ELEMENTS:
        return f"its weights have fewer than {DYNAMIC_RANGE_MINIMUM_ELEMENTS:,} elements"
    if not np.isfinite(np.asarray(weights.data)).all():
        return NOT_FINITE
    return MISSED
