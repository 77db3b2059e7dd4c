"""One trial: quantize a file from ranges that are kept, check it, measure it, and delete it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tflq import verify
from tflq.calibrate.schema import Method, Percentile
from tflq.contract import NO_OPS
from tflq.errors import EvaluationError
from tflq.evaluate.plan import EvaluationPlan
from tflq.modes import Mode
from tflq.refine import RefinementConfig, RefinementRequest
from tflq.trials.constraints import Constraint
from tflq.trials.measurements import FileFacts, Measurements, file_facts, measurements_of
from tflq.trials.stored_samples import StoredSamples, records
from tflq.trials.target_limits import TargetFigures, TargetLimits, may_compile_later, target_figures
from tflq.worker import ProgressCallback, Task

SampleSet = Literal["ranking", "selection", "confirmation"]
RANKING: SampleSet = "ranking"
"""A few of the selection samples, which are enough to rank trials by fidelity."""
SELECTION: SampleSet = "selection"
CONFIRMATION: SampleSet = "confirmation"
MIN_RANKING_SAMPLES = 100
"""Even a slow file is measured on this many samples, if there are as many."""


@dataclass(frozen=True)
class Trial:
    """A variant and the method of its ranges."""

    variant: Mode
    ranges: Method

    @property
    def in_words(self) -> str:
        """The mode and its options, without the ops kept in float."""
        variant, words = self.variant, [str(self.variant.mode)]
        if variant.needs_ranges:
            words += [f"percentile {self.ranges.percentile:g}" if isinstance(self.ranges, Percentile) else self.ranges]
            required = RefinementRequest.by(variant).required
            words += [required.in_words] if required != RefinementConfig() else []
        words += ["per tensor"] if not variant.per_channel else []
        words += ["dense per tensor"] if variant.per_channel and not variant.per_channel_dense else []
        return ", ".join(words)


@dataclass(frozen=True)
class TrialResult:
    """A trial and its measurements on one set of samples."""

    trial: Trial
    figures: Measurements | None
    """The measurements; None if no valid file could be made."""
    reason: str = ""
    """Why there are no measurements: the error of the conversion or of the checks."""


def meets_all(constraints: Sequence[Constraint], result: TrialResult, look: int = 1) -> bool:
    """Return whether the trial meets all constraints on its samples. `look`: see `Constraint.violation`."""
    return result.figures is not None and _meets(constraints, result.figures, look)


def _meets(constraints: Sequence[Constraint], figures: Measurements, look: int) -> bool:
    return not figures.fault and all(constraint.violation(figures, look) <= 0 for constraint in constraints)


@dataclass(frozen=True)
class TrialEvaluation:
    """The samples and limits for measuring the file of a trial."""

    plan: EvaluationPlan
    stored: StoredSamples
    max_work: float
    """The largest work for one file, in multiply-adds of int8. A slow file is measured on fewer samples."""
    constraints: tuple[Constraint, ...]
    """A file that is hopeless by these after MIN_RANKING_SAMPLES samples is not measured on more."""
    limits: TargetLimits
    """A file that does not meet these is no answer. It is not measured, if no compiler must say so."""
    target_figures_folder: Path
    """The folder that keeps the figures of files on targets with a compiler."""


def run_trial(
    report: ProgressCallback, steps: Sequence[Task[Any]], variant: Mode, path: Path, evaluation: TrialEvaluation
) -> Measurements:
    """Make the file by the steps, check it against its contract, and measure it. The first step returns named ops.

    Raise EvaluationError if the file breaks its contract, or does not meet the limits of targets. Errors of the
    conversion pass through.
    """
    try:
        named, *_ = [step.function(report, *step.arguments) for step in steps]
        violations = verify.verify(report, path, variant, evaluation.plan.source, named or NO_OPS).violations
        errors = [f"{violation.where} {violation.message}" for violation in violations if violation.severity == "error"]
        if errors:
            raise EvaluationError(f"the file breaks its contract: {errors[0]}")
        return _measure(report, path, variant, evaluation)
    finally:
        path.unlink(missing_ok=True)


def _measure(report: ProgressCallback, path: Path, variant: Mode, evaluation: TrialEvaluation) -> Measurements:
    """Measure the file, and check it on the targets. A compiler is called first only if it may refuse the file."""
    limits, is_late = evaluation.limits, may_compile_later(path, evaluation.limits)
    on_targets = target_figures(path, limits.before_measuring if is_late else limits, evaluation.target_figures_folder)
    measured = _measure_answers(report, path, file_facts(path, variant.is_integer), evaluation)
    if is_late:
        is_answer = _meets(evaluation.constraints, measured, 1)
        on_targets = target_figures(path, limits, evaluation.target_figures_folder) if is_answer else TargetFigures()
    known = replace(measured.file, ram_bytes=on_targets.ram_bytes, estimated_ms=on_targets.estimated_ms)
    return replace(measured, file=known)


def _measure_answers(
    report: ProgressCallback, path: Path, file: FileFacts, evaluation: TrialEvaluation
) -> Measurements:
    """Measure the file on the samples that it may use, and stop after the first part if it is hopeless."""
    stored, plan = evaluation.stored, evaluation.plan
    samples = stored.at(spread(stored.count, evaluation.max_work / max(file.work, 1)))
    first = spread(samples.count, MIN_RANKING_SAMPLES if evaluation.constraints else samples.count)
    rest = sorted({*range(samples.count)} - {*first})
    parts, places = [first, rest] if rest else [first], list[int]()
    for part, answers in zip(parts, records(report, path, [samples.at(part) for part in parts], plan), strict=True):
        places += part
        measurements = measurements_of(file, samples.at(places).base, answers, plan.evaluation.scoring)
        if any(constraint.is_hopeless(measurements) for constraint in evaluation.constraints):
            break
    return measurements


def spread(count: int, most: float) -> list[int]:
    """Return at most `most` of `count` places, or MIN_RANKING_SAMPLES if that is more.

    The places are evenly spread, since neighbouring samples are often alike.
    """
    number = int(min(count, max(most, MIN_RANKING_SAMPLES)))
    return [place * count // number for place in range(number)]
