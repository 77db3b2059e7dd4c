"""What changes for users: the answers of a variant beside those of the float32 file."""

from __future__ import annotations

from dataclasses import dataclass

Counts = tuple[tuple[int, ...], ...]
"""Rows of a confusion matrix."""


@dataclass(frozen=True)
class Confusion:
    """How often each class was answered."""

    classes: tuple[int, ...]
    """The classes of rows and columns."""
    left_out: int
    """The number of further classes that occur; those with the largest changes are in the matrix."""
    float32: Counts | None
    """Label (row) and answer of the float32 file (column), in samples; None without labels."""
    variant: Counts
    """Label (row) and answer of the variant (column). Without labels, a row is the answer of the float32 file."""


@dataclass(frozen=True)
class Disagreement:
    """A sample for which the variant answers another class than the float32 file."""

    row: int
    """The row of the dataset."""
    label: int | None
    classes: tuple[int, int]
    """The classes that the float32 file and the variant answer."""
    scores: tuple[float, float]
    """The scores of these classes."""
    picture: bytes | None
    """The sample as PNG or JPEG; None if it is no picture."""


@dataclass(frozen=True)
class AnswersReport:
    """The answers of one variant."""

    samples: int
    disagreeing: int
    """The number of samples for which the classes differ."""
    confusion: Confusion | None
    """None if the output has no classes."""
    disagreements: tuple[Disagreement, ...]
    points: tuple[tuple[float, float], ...]
    """Values of the float32 file and of the variant, if the output has no classes."""
    output: str
    """The name of the output that the answers are of."""
