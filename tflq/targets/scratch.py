"""The scratch memory that reference kernels of TensorFlow Lite Micro ask for while they run."""

from __future__ import annotations

import math
from collections.abc import Callable

from tflq.flatbuffer import ROLES, Operator, Subgraph, Tensor

_WORD = 4
_GATES = 4
"""The number of gates of an LSTM."""
_CELL_STATE = 19
"""The position of the cell state among the inputs of an LSTM."""


def scratch_sizes(subgraph: Subgraph, operator: Operator) -> tuple[int, ...]:
    """Return the sizes in bytes of the buffers that the op's reference kernel asks for."""
    rule = _RULES.get(operator.type)
    return rule(subgraph, operator) if rule and operator.outputs and subgraph.input(operator, 0) else ()


def _reduction(subgraph: Subgraph, operator: Operator) -> tuple[int, ...]:
    data, axis = subgraph.input(operator, 0), subgraph.input(operator, 1)
    return (_WORD * len(data.shape) if data else 0, _WORD * _elements(axis))


def _sum(subgraph: Subgraph, operator: Operator) -> tuple[int, ...]:
    is_quantized = _dtype(subgraph, operator, 0) in ("int8", "int16")
    sums = (_WORD * _elements(subgraph.tensors[operator.outputs[0]]),) if is_quantized else ()
    return (*sums, *_reduction(subgraph, operator))


def _transpose_conv(subgraph: Subgraph, operator: Operator) -> tuple[int, ...]:
    width = {"int8": _WORD, "int16": 2 * _WORD}.get(_dtype(subgraph, operator, 2), 0)
    return (width * _elements(subgraph.tensors[operator.outputs[0]]),)


def _svdf(subgraph: Subgraph, operator: Operator) -> tuple[int, ...]:
    data, weights = subgraph.input(operator, 0), subgraph.input(operator, 1)
    batch = data.shape[0] if data and data.shape else 1
    filters = _WORD * batch * (weights.shape[0] if weights and weights.shape else 1)
    if _dtype(subgraph, operator, 0) == "float32":
        return (filters,)
    return (filters, _WORD * _elements(subgraph.tensors[operator.outputs[0]]))


def _lstm(subgraph: Subgraph, operator: Operator) -> tuple[int, ...]:
    state = subgraph.input(operator, _CELL_STATE)
    return (state.needed_bytes,) * _GATES if state else ()


def _mirror_pad(subgraph: Subgraph, operator: Operator) -> tuple[int, ...]:
    data = subgraph.input(operator, 0)
    return (_WORD * len(data.shape),) * 2 if data else ()


def _unpacked_weights(subgraph: Subgraph, operator: Operator) -> tuple[int, ...]:
    weights = subgraph.input(operator, ROLES[operator.type].weights)
    return (_elements(weights),) if weights and weights.dtype == "int4" else ()


def _dtype(subgraph: Subgraph, operator: Operator, position: int) -> str:
    tensor = subgraph.input(operator, position)
    return tensor.dtype if tensor else ""


def _elements(tensor: Tensor | None) -> int:
    return math.prod(tensor.shape) if tensor else 0


_RULES: dict[str, Callable[[Subgraph, Operator], tuple[int, ...]]] = {
    **dict.fromkeys(("REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL"), _reduction),
    **dict.fromkeys(("MEAN", "SUM"), _sum),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), _unpacked_weights),
    "TRANSPOSE_CONV": _transpose_conv,
    "MIRROR_PAD": _mirror_pad,
    "SVDF": _svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
