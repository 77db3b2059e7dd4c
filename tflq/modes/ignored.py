"""Options of the converter that some modes have no use for, and the values of them that ask for nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

GRANULARITY = ("per_channel", "per_channel_dense")
"""How many scales the weights of a layer have."""
REFINEMENTS = ("bias_correction", "rounding", "equalization", "headroom")
"""What is done to the float model before it is quantized."""
REFINEMENTS_OF_INTEGERS = REFINEMENTS[1:]
"""Of it what is there for integer activations alone."""

_NEUTRAL: dict[str, tuple[object, ...]] = {
    "per_channel": (True,),
    "per_channel_dense": (True,),
    "keep_float": ([], ()),
    "bias_correction": ("auto", "off"),
    "rounding": ("auto", "off"),
    "equalization": ("auto", "off"),
    "headroom": ("auto", 1),
}


def asks_for_nothing(key: str, value: object) -> bool:
    """Whether a mode that ignores the option may be given this value of it."""
    return value in _NEUTRAL[key]


def tell_editors(properties: dict[str, Any], ignored: Iterable[str]) -> None:
    """Let the JSON Schema of a mode refuse the values that its validators refuse."""
    for key in ignored:
        if key == "keep_float":
            properties[key]["maxItems"] = 0
        else:
            properties[key]["enum"] = list(_NEUTRAL[key])
