"""The real numbers that a quantized input or output stands for: the formula in words, in Python and in C++."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

C_TYPES = {
    "float32": "float",
    **{name: f"{name}_t" for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")},
    "bool": "bool",
}
"""The C type of an element of each dtype that firmware can hand over."""
FIELDS = {
    **{"float32": "f", "int8": "int8", "uint8": "uint8", "int16": "i16", "uint16": "ui16", "int32": "i32"},
    **{"uint32": "u32", "int64": "i64", "uint64": "u64", "bool": "b"},
}
"""The member of TensorFlow Lite Micro's `TfLiteTensor.data` for each dtype."""
_PIXELS = np.arange(256, dtype=np.float64)
_HALF_STEP = 0.501
"""Half a step, with the error of a scale in float32."""


@dataclass(frozen=True)
class Affine:
    """A quantized dtype: real = (q - zero_point) * scale."""

    dtype: str
    scale: float
    zero_point: int

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest integer."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    @property
    def real_limits(self) -> tuple[float, float]:
        """The lowest and the highest real number."""
        low, high = ((limit - self.zero_point) * self.scale for limit in self.limits)
        return low, high

    @property
    def number(self) -> str:
        """The scale with the fewest digits that give the same float32."""
        return str(np.float32(self.scale))

    @property
    def c_number(self) -> str:
        """The scale as a literal of C."""
        return f"{self.number if set('.e') & set(self.number) else self.number + '.0'}f"


def pixel_shift(affine: Affine, scale: float, offset: float) -> int | None:
    """Return n if q = pixel + n for every pixel from 0 to 255, where real = pixel * scale + offset; else None.

    Each q is then as near to the real number as an integer can be, at most half a step away.
    """
    steps = (_PIXELS * scale + offset) / affine.scale + affine.zero_point
    low, high = affine.limits
    shift = low if affine.dtype == "int8" else 0
    fits = low <= shift and shift + _PIXELS[-1] <= high
    return shift if fits and np.all(np.abs(steps - (_PIXELS + shift)) <= _HALF_STEP) else None


def plus(number: int) -> str:
    """Return the number to be added, with its sign; empty for 0."""
    return "" if number == 0 else f" {'+' if number > 0 else '-'} {abs(number)}"
