"""How much work a file is, by its graph alone, so that the same file is always as much."""

from __future__ import annotations

import math

from tflq.contract import activations
from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph

COST = {"int8": 1.0, "uint8": 1.0, "float32": 2.0, "hybrid": 1.3, "int16": 12.0}
"""Of one multiply-add in LiteRT's kernels on a CPU, int8 being 1: int16 has none with vector instructions."""


def work(graph: Graph) -> float:
    """Multiply-adds of one call, each weighted by its kernel; an op without weights has one for each element."""
    return sum(_cost(*place) * _multiply_adds(*place) for place in graph.operators())


def multiply_adds(graph: Graph) -> int:
    """Of one call, each counted alike."""
    return sum(_multiply_adds(*place) for place in graph.operators())


def _multiply_adds(subgraph: Subgraph, operator: Operator) -> int:
    """What control flow and fused recurrent ops do inside is not counted."""
    elements = sum(math.prod(tensor.shape) for tensor in subgraph.written_by(operator))
    if operator.type not in ROLES:
        return elements
    weights = subgraph.input(operator, 1)
    if weights is None or not weights.shape:
        return elements
    each = math.prod(weights.shape) // max(weights.shape[ROLES[operator.type].channels], 1)
    return elements * each


def _cost(subgraph: Subgraph, operator: Operator) -> float:
    dtypes = {tensor.dtype for tensor in activations(subgraph, operator)}
    if "int16" in dtypes:
        return COST["int16"]
    if "float32" not in dtypes:
        return COST["int8"]
    weights = subgraph.input(operator, 1) if operator.type in ROLES else None
    return COST["hybrid"] if weights is not None and weights.dtype == "int8" else COST["float32"]
