"""The verdict on a file, and the outcome of a gate. They are apart from `result`, whose import takes long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "poor", "failed", "broken", "error"]
"""The verdict on a variant, from the best to the gravest."""


@dataclass(frozen=True)
class Gate:
    """A limit of the recipe, compared with the measured value."""

    name: str
    bar: float
    """The limit of the recipe."""
    measured: float | None
    """The measured value; None if it could not be measured."""
    passed: bool
    certain: bool
    """Whether there were enough samples to decide; always true if the value does not depend on samples."""
    reason: str = ""
    """Why the gate failed, if the numbers do not say it."""

    @property
    def in_words(self) -> str:
        """The measured value and the limit, as text for a failed gate."""
        if self.reason:
            return self.reason
        if self.measured is None:
            return f"{self.name} could not be measured; the limit is {self.bar:g}"
        return f"{self.name} is {self.measured:.6g}, but the limit is {self.bar:g}"
