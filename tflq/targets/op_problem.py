"""An op that a target does not have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OpProblem:
    """An op, and why the target does not have it, or has it in a slow kernel only."""

    type: str
    tensor: str
    reason: str
