"""What a file is like: figures of samples, each with its 95 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq import cache, flatbuffer, scores
from tflq.contract import float_ops
from tflq.evaluate import Evaluation, Record
from tflq.metrics import Metric, TopK, paired_drop
from tflq.trials.cost_model import work

EQUAL_DB = 200.0
"""Stands for the SQNR of answers that do not differ, or hardly, and below 0 for those that have nothing in common."""


@dataclass(frozen=True)
class Estimate:
    """A figure of samples, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OutputFidelity:
    """How near one output is to the float32 file's."""

    sqnr_db: Estimate
    agreement: Estimate | None
    """The share of samples with the same top class; None where the output is not a row of classes."""


@dataclass(frozen=True)
class FileFacts:
    """A file, read back."""

    sha256: str
    size_bytes: int
    float_ops: int
    """Ops that compute in float, in a file that is to compute in integers."""
    work: float
    """How long a call takes, in multiply-adds of int8, by estimate."""


@dataclass(frozen=True)
class Measurements:
    """A trial's file, and what it is like on one set of samples."""

    file: FileFacts
    outputs: dict[str, OutputFidelity]
    metric: float | None
    drop: Estimate | None
    """Of the metric, against the float32 file."""
    samples: int
    fault: str
    """What its answers betray, such as that they are NaN or always the same: then no figure makes it good."""


def file_facts(path: Path, is_integer: bool) -> FileFacts:
    graph = flatbuffer.load(path)
    in_float = sum(1 for _ in float_ops(graph)) if is_integer else 0
    return FileFacts(cache.sha256(path), graph.size_bytes, in_float, work(graph))


def figures(file: FileFacts, base: Record, answers: Record, metric: Metric | None) -> Measurements:
    """From what the float32 file answered and what this file did."""
    faults = [
        f"{one.where} {one.message}" for one in scores.suspicious_outputs(answers, base) if one.severity == "error"
    ]
    score = scores.score(metric, base, answers, None) if metric else None
    return Measurements(
        file=file,
        outputs=output_fidelity(answers),
        metric=score.value if score else None,
        drop=Estimate(score.drop, *score.ci95) if score else None,
        samples=len(answers.is_finite),
        fault=faults[0] if faults else "",
    )


def output_fidelity(answers: Record) -> dict[str, OutputFidelity]:
    """By output."""
    return {name: OutputFidelity(_sqnr_db(answers.errors[name]), _agreement(answers, name)) for name in answers.errors}


def quality(figures: Measurements, evaluation: Evaluation) -> float:
    """The SQNR in dB of the output that is scored; without a metric the lowest SQNR of all outputs."""
    outputs = figures.outputs
    scored = [evaluation.output or next(iter(outputs))] if evaluation.metric else list(outputs)
    return min(outputs[name].sqnr_db.value for name in scored)


def _sqnr_db(rows: np.ndarray) -> Estimate:
    """10·log10 of the ratio of two sums over samples; its interval from the ratio's linear form (delta method)."""
    signal, noise = rows[:, 0], rows[:, 1]
    total, wrong = float(signal.sum()), float(noise.sum())
    if not 0 < total < math.inf or not 0 < wrong < math.inf:
        value = EQUAL_DB if wrong == 0 else -EQUAL_DB
        return Estimate(value, value, value)
    ratio = wrong / total
    deviation = float(np.std(noise - ratio * signal)) / float(signal.mean()) / math.sqrt(len(rows))
    value, reach = -10 * math.log10(ratio), 1.96 * 10 / math.log(10) * deviation / ratio
    return Estimate(*(min(max(one, -EQUAL_DB), EQUAL_DB) for one in (value, value - reach, value + reach)))


def _agreement(answers: Record, name: str) -> Estimate | None:
    """As a right-or-wrong metric of which the float32 file has all right."""
    if name not in answers.agreement:
        return None
    odds = answers.agreement[name]
    ones = np.ones(len(odds))
    drop = paired_drop(TopK(1), np.stack([ones, ones], 1), np.stack([odds, ones], 1))
    return Estimate(1 - drop.value, 1 - drop.high, min(1 - drop.low, 1.0))
