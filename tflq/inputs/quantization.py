"""The recipe's `inputs.NAME.quantization`: which integers of the file stand for which real values."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveFloat, WithJsonSchema

from tflq.strict import Strict

_FRACTION = re.compile(r"\s*([0-9.eE+-]+)\s*/\s*([0-9.eE+-]+)\s*")
LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32767, 32767)}
"""The lowest and the highest integer of each dtype. The range of int16 is symmetric."""
PIXELS = 255
"""The largest value of a pixel; the smallest is 0."""


def _number(value: Any) -> Any:
    """Return the quotient of a text such as 1/255, and any other value as it is."""
    match = _FRACTION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    try:
        return float(match[1]) / float(match[2])
    except (ValueError, ZeroDivisionError):
        return value


class InputQuantization(Strict):
    """The scale and the zero point of an integer input: real = (q - zero_point) * scale."""

    scale: Annotated[
        PositiveFloat,
        BeforeValidator(_number),
        WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": "/"}]}),
    ] = Field(description="The step between two integers: a number, or a fraction such as 1/255.")
    zero_point: int = Field(0, ge=-128, le=255, description="The integer that stands for 0, in the type of the input.")

    def limits(self, dtype: str) -> tuple[float, float]:
        """Return the lowest and the highest real value. Raise ValueError if the dtype cannot have the zero point."""
        low, high = LIMITS[dtype]
        if not low <= self.zero_point <= high:
            raise ValueError(f"zero_point is {self.zero_point}, but {dtype} is from {low} to {high}")
        if dtype == "int16" and self.zero_point:
            raise ValueError("an int16 input has zero_point 0")
        return (low - self.zero_point) * self.scale, (high - self.zero_point) * self.scale


def for_pixels(dtype: str, scaling: tuple[float, float]) -> InputQuantization:
    """Return the quantization under which a pixel is fed as it is to uint8, and minus 128 to int8.

    `scaling` is the scale and the offset by which a pixel becomes a real value. Raise ValueError if there is none.
    """
    scale, offset = scaling
    if dtype not in ("int8", "uint8"):
        raise ValueError(f"pixels need an input of uint8 or int8, not {dtype}")
    zero = -offset / scale
    if scale < 0 or not -0.5 <= zero <= PIXELS + 0.5:
        raise ValueError(f"pixels become {offset:g} to {PIXELS * scale + offset:g}, and 0 must be in that range")
    point = min(max(math.ceil(zero - 0.5), 0), PIXELS)  # of two integers that are as near, the lower one
    return InputQuantization(scale=scale, zero_point=point + LIMITS[dtype][0])
