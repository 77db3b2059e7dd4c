"""One trial: a file is quantized from ranges that are held, checked, measured and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tflq import verify
from tflq.calibrate import Method, Percentile
from tflq.errors import EvaluationError
from tflq.evaluate import EvaluationPlan
from tflq.modes import Mode
from tflq.refine import RefinementConfig, RefinementRequest
from tflq.trials.constraints import Constraint
from tflq.trials.measurements import Measurements, figures, file_facts
from tflq.trials.stored_samples import StoredSamples, records
from tflq.worker import ProgressCallback, Task

SampleSet = Literal["ranking", "deciding", "confirming"]
RANKING: SampleSet = "ranking"
"""A few of the deciding samples, which tell what is nearer to the float32 file."""
SELECTION: SampleSet = "deciding"
CONFIRMATION: SampleSet = "confirming"
MIN_RANKING_SAMPLES = 100
"""Samples that a file is measured on however slow it is, if there are as many."""


@dataclass(frozen=True)
class Trial:
    """A variant and the method of its ranges: all that there is to choose."""

    variant: Mode
    ranges: Method

    @property
    def in_words(self) -> str:
        """What it is, without what it keeps in float."""
        variant, words = self.variant, [str(self.variant.mode)]
        if variant.needs_ranges:
            words += [f"percentile {self.ranges.percentile:g}" if isinstance(self.ranges, Percentile) else self.ranges]
            refined = RefinementRequest.by(variant).required
            words += [refined.in_words] if refined != RefinementConfig() else []
        words += ["per tensor"] if not variant.per_channel else []
        words += ["dense per tensor"] if variant.per_channel and not variant.per_channel_dense else []
        return ", ".join(words)


@dataclass(frozen=True)
class TrialResult:
    trial: Trial
    figures: Measurements | None
    reason: str = ""
    """Why there are no figures: what refused the variant, or its file."""


def meets_all(constraints: Sequence[Constraint], tried: TrialResult, look: int = 1) -> bool:
    """Whether it meets all of them on the samples that it was measured on."""
    figures = tried.figures
    return (
        figures is not None
        and not figures.fault
        and all(constraint.violation(figures, look) <= 0 for constraint in constraints)
    )


@dataclass(frozen=True)
class TrialEvaluation:
    """What every trial's file is measured on and with."""

    plan: EvaluationPlan
    stored: StoredSamples
    afforded: float
    """Work, as `work` counts it, that may go into measuring: a slow file is measured on fewer of the samples."""
    constraints: tuple[Constraint, ...]
    """What is hopeless by these after LEAST samples is not measured on more."""


def run_trial(
    report: ProgressCallback, make: Task[Any], variant: Mode, path: Path, judging: TrialEvaluation
) -> Measurements:
    """Make the file, hold it to its contract and measure it; an error that says why where that cannot be done."""
    try:
        kept = make.function(report, *make.arguments) or ()
        verified = verify.verify(report, path, variant, judging.plan.source, kept)
        faults = [f"{one.where} {one.message}" for one in verified.violations if one.severity == "error"]
        if faults:
            raise EvaluationError(f"the file breaks its contract: {faults[0]}")
        return _figures(report, path, variant, judging)
    finally:
        path.unlink(missing_ok=True)


def _figures(report: ProgressCallback, path: Path, variant: Mode, judging: TrialEvaluation) -> Measurements:
    file, stored, plan = file_facts(path, variant.is_integer), judging.stored, judging.plan
    some = stored.at(spread(stored.count, judging.afforded / max(file.work, 1)))
    first = spread(some.count, MIN_RANKING_SAMPLES if judging.constraints else some.count)
    rest = sorted({*range(some.count)} - {*first})
    parts, seen = [first, rest] if rest else [first], list[int]()
    for part, answers in zip(parts, records(report, path, [some.at(part) for part in parts], plan), strict=True):
        seen += part
        found = figures(file, some.at(seen).base, answers, plan.evaluation.scoring)
        if any(constraint.is_hopeless(found) for constraint in judging.constraints):
            break
    return found


def spread(count: int, most: float) -> list[int]:
    """At most so many places of that count, or LEAST, evenly spread, since neighbours are often alike."""
    taken = int(min(count, max(most, MIN_RANKING_SAMPLES)))
    return [place * count // taken for place in range(taken)]
