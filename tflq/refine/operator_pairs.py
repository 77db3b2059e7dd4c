"""The ops of a quantized file that correspond to the ops of its float32 file."""

from __future__ import annotations

from tflq.flatbuffer import Operator, Subgraph
from tflq.op_dtypes import type_in_integer_file

CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}
"""The ops that a quantizer adds."""


def operator_pairs(float32: Subgraph, quantized: Subgraph) -> dict[int, Operator] | None:
    """Return the op of the quantized file for the index of each op of the float32 file, conversions left out.

    Return None if the types or the output shapes of the ops are not the same, in the same order. Ops that conversion
    writes as products correspond to these.
    """
    originals, others = (
        [operator for operator in subgraph.operators if operator.type not in CONVERSIONS]
        for subgraph in (float32, quantized)
    )
    signatures = [
        [(type_in_integer_file(op.type), [tensor.shape for tensor in graph.written_by(op)]) for op in operators]
        for graph, operators in ((float32, originals), (quantized, others))
    ]
    if signatures[0] != signatures[1]:
        return None
    return {operator.index: other for operator, other in zip(originals, others, strict=True)}
