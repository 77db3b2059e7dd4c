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


@dataclass(frozen=True)
class _Difference:
    """The loss of a candidate from the selection to the confirmation samples, and its standard error."""

    loss: float
    error: float


def birge_ratio(constraint: Constraint, refuted: Sequence[Candidate]) -> float:
    """Return the factor by which the standard errors of this figure were too small, at least 1.

    A refuted candidate has two values of one quantity. Birge 1932 ("The calculation of errors by the method of least
    squares", Physical Review 40:207) multiplies all errors by the root of χ² per degree of freedom, if that is above 1.
    """
    differences = [one for one in _differences(constraint, refuted) if one.error > 0]
    return max(1.0, _root_mean_square([one.loss / one.error for one in differences]))


def seen_spread(constraint: Constraint, refuted: Sequence[Candidate]) -> float:
    """Return by how much refuted candidates were worse on the confirmation samples, as the root of the mean square."""
    return _root_mean_square([one.loss for one in _differences(constraint, refuted)])


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(sum(value**2 for value in values) / len(values)) if values else 0.0


def _differences(constraint: Constraint, refuted: Sequence[Candidate]) -> Iterator[_Difference]:
    """Yield the difference of each candidate that was worse, if both its values could be measured."""
    for candidate in refuted:
        if candidate.selection.figures is None or candidate.confirmation.figures is None:
            continue
        before = constraint.estimate(candidate.selection.figures)
        after = constraint.estimate(candidate.confirmation.figures)
        if before is None or after is None:
            continue
        errors = constraint.errors_of(before).toward_worse, constraint.errors_of(after).toward_better
        loss = constraint.loss(after.value) - constraint.loss(before.value)
        if loss > 0 and math.isfinite(loss):
            yield _Difference(loss, math.hypot(*errors))
