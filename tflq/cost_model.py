"""Estimate the work of one call of a file from its graph alone. The estimate is the same on every machine."""

from __future__ import annotations

import math

from tflq.contract import activations
from tflq.flatbuffer import ROLES, Graph, Operator, Subgraph

COST = {"int8": 1.0, "uint8": 1.0, "float32": 2.0, "hybrid": 1.3, "int16": 12.0, "int16 with int32 bias": 3.0}
"""The cost of one multiply-add in LiteRT's CPU kernels, relative to int8.

Int16 kernels use no vector instructions, except those with an int32 bias.
"""


def work(graph: Graph) -> float:
    """Return the multiply-adds of one call, weighted by kernel. An op without weights counts one for each element."""
    return sum(_cost(*place) * operator_multiply_adds(*place) for place in graph.operators())


def multiply_adds(graph: Graph) -> int:
    """Return the multiply-adds of one call, without weighting."""
    return sum(operator_multiply_adds(*place) for place in graph.operators())


def int16_multiply_adds(graph: Graph) -> int:
    """Return the multiply-adds of one call in ops with int16 activations, whose kernels are slow.

    Those of faster kernels count less, by their cost.
    """
    slow = [place for place in graph.operators() if _is_int16(*place)]
    return round(sum(_cost(*place) / COST["int16"] * operator_multiply_adds(*place) for place in slow))


def operator_multiply_adds(subgraph: Subgraph, operator: Operator) -> int:
    """Count the multiply-adds of one op, without those inside control flow and fused recurrent ops.

    A size that may change, which is -1, counts as 1.
    """
    if operator.type == "DEQUANTIZE" and all(tensor.is_constant for tensor in subgraph.read_by(operator)):
        return 0  # the runtime converts a constant once, before the first call
    elements = sum(math.prod(map(abs, tensor.shape)) for tensor in subgraph.written_by(operator))
    if operator.type not in ROLES:
        return elements
    weights = subgraph.input(operator, 1)
    if weights is None or not weights.shape:
        return elements
    per_output = math.prod(weights.shape) // max(weights.shape[ROLES[operator.type].channels], 1)
    return elements * per_output


def _cost(subgraph: Subgraph, operator: Operator) -> float:
    if _is_int16(subgraph, operator):
        bias = subgraph.input(operator, ROLES[operator.type].bias) if operator.type in ROLES else None
        return COST["int16 with int32 bias" if bias is not None and bias.dtype == "int32" else "int16"]
    dtypes = {tensor.dtype for tensor in activations(subgraph, operator)}
    if "float32" not in dtypes:
        return COST["int8"]
    weights = subgraph.input(operator, 1) if operator.type in ROLES else None
    return COST["hybrid"] if weights is not None and weights.dtype in ("int8", "int4") else COST["float32"]


def _is_int16(subgraph: Subgraph, operator: Operator) -> bool:
    return any(tensor.dtype == "int16" for tensor in activations(subgraph, operator))
