"""The ranges of a file's outputs: the values that their integers can represent."""

from __future__ import annotations

import numpy as np

from tflq.flatbuffer.graph import Graph, Subgraph, Tensor

_SAME_VALUES = frozenset({"DEQUANTIZE", "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"})
"""Ops that change no value."""


def output_ranges(graph: Graph) -> dict[str, tuple[float, float, float]]:
    """Return for each quantized output of the first signature its lowest value, its highest one, and its step.

    An output in float that is the dequantized value of integers counts as quantized.
    """
    if not graph.signatures:
        return {}
    signature = graph.signatures[0]
    subgraph = graph.subgraphs[signature.subgraph]
    found = {name: _range(integers_of(subgraph, subgraph.tensors[index])) for name, index in signature.outputs}
    return {name: ends for name, ends in found.items() if ends is not None}


def integers_of(subgraph: Subgraph, tensor: Tensor) -> Tensor:
    """Return the tensor whose values this one has: before dequantizing and changes of shape."""
    writers = {index: operator for operator in subgraph.operators for index in operator.outputs}
    while not tensor.quantization and (writer := writers.get(tensor.index)) and writer.type in _SAME_VALUES:
        before = subgraph.input(writer, 0)
        if before is None:
            break
        tensor = before
    return tensor


def _range(tensor: Tensor) -> tuple[float, float, float] | None:
    quantization = tensor.quantization
    if quantization is None or len(quantization.scales) != 1 or tensor.dtype not in ("int8", "uint8", "int16"):
        return None
    step, zero_point, limits = quantization.scales[0], quantization.first_zero_point, np.iinfo(tensor.dtype)
    return (int(limits.min) - zero_point) * step, (int(limits.max) - zero_point) * step, step
