"""The table of dtypes as sets of ops, and the usual remedies for ops without an integer kernel."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tflq.op_dtypes.table import OPS

COLUMNS = ("float32", "int8", "int16")


def _with_word(word: str) -> Mapping[str, frozenset[str]]:
    rows = [line.split() for line in OPS.strip().splitlines()]
    return MappingProxyType(
        {dtype: frozenset(row[0] for row in rows if row[column] == word) for column, dtype in enumerate(COLUMNS, 1)}
    )


QUANTIZABLE = _with_word("runs")
"""The ops that the quantizer writes with activations of that dtype and that LiteRT then runs, by dtype."""
FAILING = _with_word("fails")
"""The ops that the quantizer writes with activations of that dtype though LiteRT cannot run them, by dtype."""
PRODUCTS: Mapping[str, float] = MappingProxyType({"ZEROS_LIKE": 0.0, "NEG": -1.0})
"""The ops of a float32 file that are a MUL with a number in an integer file, each with its number."""
REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "ADD_N": "add two tensors at a time",
        "CAST": "leave the cast to the program around the model",
        "DIV": "multiply by the reciprocal, which may be a constant",
        "ELU": "use RELU or LEAKY_RELU",
        "HARD_SWISH": "write x * relu6(x + 3) / 6",
        "POW": "multiply the tensor by itself",
        "PRELU": "use LEAKY_RELU",
        "SQRT": "write x * rsqrt(x)",
        "SQUARE": "multiply the tensor by itself",
        "SQUARED_DIFFERENCE": "multiply the difference by itself; LayerNormalization of Keras 3 has this op",
    }
)
"""The remedy for each op: another form of it for the model."""


def type_in_integer_file(type_: str) -> str:
    """Return the type that an integer file has for an op of the float32 file, unless the op stays in float."""
    return "MUL" if type_ in PRODUCTS else type_


def remedy(type_: str, dtype: str) -> str:
    """Return what to write in the model instead of an op that does not compute in that dtype, or an empty text."""
    return "" if type_ in QUANTIZABLE[dtype] else REMEDIES.get(type_, "")
