"""The ops that the quantizer must not touch, although no recipe names them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tflq.contract import COMPARISONS
from tflq.conversion.int16_io import Side
from tflq.flatbuffer import Graph, Operator, Subgraph
from tflq.op_dtypes import FAILING, QUANTIZABLE


def unsupported_ops(graph: Graph, dtype: str, int16_sides: Sequence[Side] = ()) -> frozenset[int]:
    """Return the indices of the ops of the main graph that the quantizer must leave alone.

    They are ops that the quantizer writes though LiteRT has no kernel of that dtype. For int16 they are also ops that
    compute with integers in the float model, such as token ids, for which the 16-bit quantizer asks a range; and ops
    in float that read or write an input or output of `int16_sides`, which the 16-bit quantizer refuses.
    """
    (main, *_) = graph.subgraphs
    ends = {index for side in int16_sides for index in getattr(main, side)}
    return frozenset(
        operator.index
        for operator in main.operators
        if operator.type in FAILING[dtype]
        or (dtype == "int16" and (_is_integer(main, operator) or _is_float_end(operator, ends)))
    )


def _is_integer(subgraph: Subgraph, operator: Operator) -> bool:
    """Return whether the op reads and writes no float tensor, but reads one that is computed or given."""
    read = subgraph.read_by(operator)
    is_float = any(tensor.is_float for tensor in (*read, *subgraph.written_by(operator)))
    return not is_float and not all(tensor.is_constant for tensor in read)


def _is_float_end(operator: Operator, ends: Collection[int]) -> bool:
    is_known = operator.type in QUANTIZABLE["int16"] and operator.type not in COMPARISONS
    return not is_known and not {*operator.inputs, *operator.outputs}.isdisjoint(ends)
