"""The goals, modes and keys that a search accepts on the command line. This module imports no other module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from tflq.modes import ModeName

Goal = Literal["size", "latency"]
Key = Literal[
    "ranges",
    "bias_correction",
    "rounding",
    "equalization",
    "headroom",
    "per_channel",
    "per_channel_dense",
    "keep_float",
]
KEYS: tuple[str, ...] = get_args(Key)

LAST_RESORT: tuple[ModeName, ...] = ("dynamic", "float16")
DEFAULT: tuple[ModeName, ...] = ("int8", "int16x8", *LAST_RESORT)
STRICT: tuple[ModeName, ...] = ("int8_only", "int16x8_only")
SEARCHED: tuple[ModeName, ...] = (*DEFAULT[:2], *STRICT, *LAST_RESORT)
