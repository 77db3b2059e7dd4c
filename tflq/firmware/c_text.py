"""Text of C++: identifiers, comments, numbers and arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tflq.firmware.real_numbers import C_TYPES

_BYTES_IN_LINE, _NUMBERS_IN_LINE = 16, 12
_BYTE_TEXTS = tuple(f"0x{value:02x}" for value in range(256))


def identifier(name: str) -> str:
    """Return the name as an identifier. It starts with a letter."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return plain if re.match("[A-Za-z]", plain) else f"model_{plain.lstrip('_')}"


def comment(text: str) -> str:
    """Return the text as it may stand in a comment of one line."""
    return re.sub(r"[^\w ./:;,=+*()\[\]<>'|-]", "_", text, flags=re.ASCII)


def c_type(dtype: str) -> str:
    """Return the type of an element, such as std::int8_t."""
    name = C_TYPES[dtype]
    return f"std::{name}" if name.endswith("_t") else name


def byte_lines(content: bytes) -> Iterator[str]:
    """Yield the lines of an array of bytes."""
    for start in range(0, len(content), _BYTES_IN_LINE):
        yield f"    {','.join(map(_BYTE_TEXTS.__getitem__, content[start : start + _BYTES_IN_LINE]))},"


def number_lines(values: np.ndarray) -> Iterator[str]:
    """Yield the lines of an array of numbers."""
    texts = [_number(value) for value in values.ravel()]
    for start in range(0, len(texts), _NUMBERS_IN_LINE):
        yield f"     {', '.join(texts[start : start + _NUMBERS_IN_LINE])},"


def _number(value: Any) -> str:
    if value.dtype.kind == "b":
        return "true" if value else "false"
    if value.dtype.kind in "iu":
        return _integer(int(value))
    if not np.isfinite(value):
        return "NAN" if np.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
    return float_literal(float(value))


def _integer(value: int) -> str:
    if value == -(2**63):
        return f"({value + 1}LL - 1)"
    return str(value) if -(2**31) < value < 2**31 else f"{value}LL" if value < 2**63 else f"{value}ULL"


def float_literal(value: float) -> str:
    """Return the shortest literal of that float32."""
    text = str(np.float32(value))
    return f"{text}f" if set(".e") & set(text) else f"{text}.0f"
