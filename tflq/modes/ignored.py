"""Converter options that have no effect in some modes, and the values of these options that change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tflq.modes.converter import REFINEMENTS

GRANULARITY = ("per_channel", "per_channel_dense")
"""Options of weight granularity: one scale per tensor or per channel."""
SELECTORS = ("keep_float", "keep_int16")
"""Options that name ops."""
REFINEMENTS_OF_INTEGERS = tuple(key for key in REFINEMENTS if key != "bias_correction")
"""The refinements that only modes with integer activations support."""

_NEUTRAL: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(GRANULARITY, (True,)),
    **dict.fromkeys(SELECTORS, ([], ())),
    "sparse": ("off",),
    "bias_type": ("auto",),
    **dict.fromkeys(REFINEMENTS, ("auto", "off")),
    "headroom": ("auto", 1),
}


def is_neutral(key: str, value: object) -> bool:
    """Return whether a mode that ignores the option accepts this value."""
    return value in _NEUTRAL[key]


def refuse_in_schema(properties: dict[str, Any], ignored: Iterable[str]) -> None:
    """Make the JSON Schema of a mode refuse the values that its validators refuse."""
    for key in ignored:
        if key in SELECTORS:
            properties[key]["maxItems"] = 0
        else:
            properties[key]["enum"] = list(_NEUTRAL[key])
