"""One trial: a file is quantized from ranges that are held, checked, measured and forgotten."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tflq import cache, flatbuffer, scores, verify
from tflq.calibrate import Method, Percentile
from tflq.contract import float_ops
from tflq.errors import EvaluationError
from tflq.evaluate import Plan, Record
from tflq.metrics import TopK, paired_drop
from tflq.modes import Mode
from tflq.trials.held import Held, record
from tflq.trials.work import work
from tflq.worker import Report, Task

Set = Literal["deciding", "confirming"]
DECIDING: Set = "deciding"
CONFIRMING: Set = "confirming"
LEAST = 100
"""Samples that a file is measured on however slow it is, if there are as many."""
EQUAL_DB = 200.0
"""Stands for the SQNR of answers that do not differ, or hardly, and below 0 for those that have nothing in common."""


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
        words += ["per tensor"] if not variant.per_channel else []
        words += ["dense per tensor"] if variant.per_channel and not variant.per_channel_dense else []
        return ", ".join(words)


@dataclass(frozen=True)
class Figure:
    """A figure of samples, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Near:
    """How near one output is to the float32 file's."""

    sqnr_db: Figure
    agreement: Figure | None
    """The share of samples with the same top class; None where the output is not a row of classes."""


@dataclass(frozen=True)
class Figures:
    """What a trial's file is like on one set of samples."""

    sha256: str
    size_bytes: int
    float_ops: int
    """Ops that compute in float, in a file that is to compute in integers."""
    work: float
    """How long a call takes, in multiply-adds of int8, by estimate."""
    outputs: dict[str, Near]
    metric: float | None
    drop: Figure | None
    """Of the metric, against the float32 file."""
    samples: int
    fault: str
    """What its answers betray, such as that they are NaN or always the same: then no figure makes it good."""


@dataclass(frozen=True)
class Tried:
    trial: Trial
    figures: Figures | None
    reason: str = ""
    """Why there are no figures: what refused the variant, or its file."""


@dataclass(frozen=True)
class Judging:
    """What every trial's file is measured on and with."""

    plan: Plan
    held: Held
    afforded: float
    """Work, as `work` counts it, that may go into measuring: a slow file is measured on fewer of the samples."""


def attempt(report: Report, make: Task[Any], variant: Mode, path: Path, judging: Judging) -> Figures:
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


def _figures(report: Report, path: Path, variant: Mode, judging: Judging) -> Figures:
    graph, metric = flatbuffer.load(path), judging.plan.evaluation.scoring
    held = judging.held.at(spread(judging.held.count, judging.afforded / max(work(graph), 1)))
    base, answers = held.base, record(report, path, held, judging.plan)
    faults = [f"{one.where} {one.message}" for one in scores.suspicions(answers, base) if one.severity == "error"]
    score = scores.score(metric, base, answers, None) if metric else None
    return Figures(
        sha256=cache.sha256(path),
        size_bytes=graph.size_bytes,
        float_ops=sum(1 for _ in float_ops(graph)) if variant.is_integer else 0,
        work=work(graph),
        outputs=near(answers),
        metric=score.value if score else None,
        drop=Figure(score.drop, *score.ci95) if score else None,
        samples=held.count,
        fault=faults[0] if faults else "",
    )


def spread(count: int, most: float) -> list[int]:
    """At most so many places of that count, or LEAST, evenly spread, since neighbours are often alike."""
    taken = int(min(count, max(most, LEAST)))
    return [place * count // taken for place in range(taken)]


def near(answers: Record) -> dict[str, Near]:
    """By output."""
    return {name: Near(_sqnr_db(answers.errors[name]), _agreement(answers, name)) for name in answers.errors}


def _sqnr_db(rows: np.ndarray) -> Figure:
    """10·log10 of the ratio of two sums over samples; its interval from the ratio's linear form (delta method)."""
    signal, noise = rows[:, 0], rows[:, 1]
    total, wrong = float(signal.sum()), float(noise.sum())
    if not 0 < total < math.inf or not 0 < wrong < math.inf:
        value = EQUAL_DB if wrong == 0 else -EQUAL_DB
        return Figure(value, value, value)
    ratio = wrong / total
    deviation = float(np.std(noise - ratio * signal)) / float(signal.mean()) / math.sqrt(len(rows))
    value, reach = -10 * math.log10(ratio), 1.96 * 10 / math.log(10) * deviation / ratio
    return Figure(*(min(max(one, -EQUAL_DB), EQUAL_DB) for one in (value, value - reach, value + reach)))


def _agreement(answers: Record, name: str) -> Figure | None:
    """As a right-or-wrong metric of which the float32 file has all right."""
    if name not in answers.agreement:
        return None
    odds = answers.agreement[name]
    ones = np.ones(len(odds))
    drop = paired_drop(TopK(1), np.stack([ones, ones], 1), np.stack([odds, ones], 1))
    return Figure(1 - drop.value, 1 - drop.high, min(1 - drop.low, 1.0))
