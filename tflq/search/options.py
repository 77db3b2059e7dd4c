"""The goals and modes that a search accepts on the command line. This module imports no other module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from tflq.modes import ModeName

Goal = Literal["size", "latency", "ram", "target-time"]
GOALS: tuple[str, ...] = get_args(Goal)

FREE: tuple[ModeName, ...] = ("float32", "float16", "dynamic", "weights8", "dynamic4")
"""The modes that need no ranges and have no options to try. A search tries them first."""
DEFAULT: tuple[ModeName, ...] = ("int8", "int16x8", *FREE)
STRICT: tuple[ModeName, ...] = ("int8_only", "int16x8_only")
SEARCHED: tuple[ModeName, ...] = (*DEFAULT[:2], *STRICT, *FREE)
