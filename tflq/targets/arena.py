"""The memory that TensorFlow Lite Micro needs for a file: activations, variables and structures."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tflq.flatbuffer import ROLES, Graph, Operator, Options, Subgraph
from tflq.targets.memory_plan import MemoryPlan, aligned

_BASE, _PORT, _TENSOR, _OPERATOR, _CHANNEL = 1024, 96, 24, 64 + 128, 8
"""Bytes of the interpreter, and of each input or output, tensor, op and channel, on a processor with 64 bits."""
_LARGE = {"UNIDIRECTIONAL_SEQUENCE_LSTM": 1024, "SVDF": 256, "WHILE": 256, "IF": 256, "CALL_ONCE": 256}
_TABLE = 2 * 513 * 2
"""The size of the tables of an op that looks up a function of int16."""
_LOOKING_UP = ("SOFTMAX", "LOGISTIC", "TANH", "EXP", "RSQRT")


def arena_bytes(graph: Graph, options: tuple[tuple[Options, ...], ...], plan: MemoryPlan) -> int:
    """Return a size that suffices for reference kernels on a processor with 64 bits. One with 32 bits needs less.

    `options` are those of all ops, as `flatbuffer.operator_options` returns them.
    """
    first = graph.subgraphs[0] if graph.subgraphs else None
    ports = len(first.inputs) + len(first.outputs) if first else 0
    tensors = sum(len(subgraph.tensors) for subgraph in graph.subgraphs)
    operators = sum(_structures(*place, options[place[0].index][place[1].index]) for place in graph.operators())
    structures = _BASE + _PORT * ports + _TENSOR * tensors + operators
    return aligned(plan.activation_bytes + plan.variable_bytes + structures)


def _structures(subgraph: Subgraph, operator: Operator, options: Options) -> int:
    size = _OPERATOR + _LARGE.get(operator.type, 0)
    roles = ROLES.get(operator.type)
    weights = subgraph.input(operator, roles.weights) if roles else None
    if weights is not None and roles is not None and weights.shape:
        size += _CHANNEL * weights.shape[roles.channels]
    data = subgraph.input(operator, 0)
    if operator.type in _LOOKING_UP and data is not None and data.dtype == "int16":
        size += _TABLE
    if operator.type == "BATCH_MATMUL":
        size += sum(_transposed(subgraph, operator, options))
    return size + sum(_variable(subgraph, operator))


def _transposed(subgraph: Subgraph, operator: Operator, options: Options) -> Iterator[int]:
    """Yield the sizes of the inputs that the kernel keeps transposed: the first if adjX, the second unless adjY."""
    for place, is_transposed in enumerate((options.get("adjX"), not options.get("adjY"))):
        tensor = subgraph.input(operator, place)
        if tensor is not None and is_transposed:
            yield aligned(tensor.needed_bytes)


def _variable(subgraph: Subgraph, operator: Operator) -> tuple[int, ...]:
    """Return the sizes of the variables behind handles, which are kept beside the planned memory."""
    if operator.type != "ASSIGN_VARIABLE":
        return ()
    value = subgraph.input(operator, 1)
    return () if value is None else (aligned(max(value.needed_bytes, math.prod(value.shape))),)
