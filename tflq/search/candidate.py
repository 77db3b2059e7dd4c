"""A candidate that was measured on the confirmation samples, and what refuted candidates say about the spread."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tflq.trials import Constraint, TrialResult


@dataclass(frozen=True)
class Candidate:
    """The results of one trial on the selection and on the confirmation samples."""

    selection: TrialResult
    confirmation: TrialResult

    @property
    def sha256(self) -> str:
        """The hash of the file. Other options may make the same file."""
        return self.selection.figures.file.sha256 if self.selection.figures else ""


def birge_ratio(constraint: Constraint, refuted: Sequence[Candidate]) -> float:
    """Return the factor by which the standard errors of this figure were too small, at least 1.

    A refuted candidate has two values of one quantity. Birge 1932 ("The calculation of errors by the method of least
    squares", Physical Review 40:207) multiplies all errors by the root of χ² per degree of freedom, if that is above 1.
    """
    squares = [square for candidate in refuted for square in _squared_distances(constraint, candidate)]
    return max(1.0, math.sqrt(sum(squares) / len(squares))) if squares else 1.0


def _squared_distances(constraint: Constraint, candidate: Candidate) -> Iterator[float]:
    """Yield χ² of the two values: their squared difference in standard errors, if both could be measured."""
    if candidate.selection.figures is None or candidate.confirmation.figures is None:
        return
    before = constraint.estimate(candidate.selection.figures)
    after = constraint.estimate(candidate.confirmation.figures)
    if before is None or after is None:
        return
    errors = constraint.errors_of(before).toward_worse, constraint.errors_of(after).toward_better
    loss = constraint.loss(after.value) - constraint.loss(before.value)
    if loss > 0 and max(errors) > 0 and math.isfinite(loss):
        yield (loss / math.hypot(*errors)) ** 2
