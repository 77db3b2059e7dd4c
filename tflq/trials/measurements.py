"""Measurements of a file: estimates from samples, each with its 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflq import cache, flatbuffer, scores
from tflq.contract import float_ops
from tflq.evaluate import Evaluation, Record
from tflq.metrics import Metric, TopK, paired_drop
from tflq.trials.bootstrap import percentile_interval
from tflq.trials.cost_model import work

EQUAL_DB = 200.0
"""The SQNR in dB of equal outputs, and the largest one reported. Its negative is for outputs that share nothing."""


@dataclass(frozen=True)
class Estimate:
    """A value estimated from samples, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OutputFidelity:
    """The fidelity of one output to the same output of the float32 file."""

    sqnr_db: Estimate
    agreement: Estimate | None
    """The share of samples with the same top class; None if the output is not a row of classes."""


@dataclass(frozen=True)
class FileFacts:
    """Facts about a file, read back from it."""

    sha256: str
    size_bytes: int
    float_ops: int
    """Number of ops that compute in float; 0 if the mode does not compute in integers."""
    work: float
    """Estimated work of one call, in multiply-adds of int8."""


@dataclass(frozen=True)
class Measurements:
    """The file of a trial and its measurements on one set of samples."""

    file: FileFacts
    outputs: dict[str, OutputFidelity]
    metric: float | None
    drop: Estimate | None
    """The drop of the metric from the float32 file; None without a metric."""
    samples: int
    fault: str
    """The first error in the outputs, such as NaN or a constant output. A file with an error meets no constraint."""


def file_facts(path: Path, is_integer: bool) -> FileFacts:
    """Read the facts of the file. `is_integer`: whether the mode computes in integers."""
    graph = flatbuffer.load(path)
    in_float = sum(1 for _ in float_ops(graph)) if is_integer else 0
    return FileFacts(cache.sha256(path), graph.size_bytes, in_float, work(graph))


def measurements_of(file: FileFacts, base: Record, answers: Record, metric: Metric | None) -> Measurements:
    """Compare the record of a file, `answers`, with that of the float32 file, `base`, on the same samples."""
    violations = scores.suspicious_outputs(answers, base)
    errors = [f"{violation.where} {violation.message}" for violation in violations if violation.severity == "error"]
    score = scores.score(metric, base, answers, None) if metric else None
    return Measurements(
        file=file,
        outputs=output_fidelity(answers),
        metric=score.value if score else None,
        drop=Estimate(score.drop, *score.ci95) if score else None,
        samples=len(answers.is_finite),
        fault=errors[0] if errors else "",
    )


def output_fidelity(answers: Record) -> dict[str, OutputFidelity]:
    """Return the fidelity of each output, by its name."""
    return {name: OutputFidelity(_sqnr_db(answers.errors[name]), _agreement(answers, name)) for name in answers.errors}


def quality(figures: Measurements, evaluation: Evaluation) -> float:
    """Return the SQNR in dB of the output that the metric uses; without a metric, the lowest SQNR of all outputs."""
    outputs = figures.outputs
    scored = [evaluation.output or next(iter(outputs))] if evaluation.metric else list(outputs)
    return min(outputs[name].sqnr_db.value for name in scored)


def _sqnr_db(rows: np.ndarray) -> Estimate:
    """Return 10·log10(Σsignal / Σnoise) over samples, with its bootstrap interval. `rows`: [samples, 6].

    A few samples often make most of the noise, so the interval is not symmetric. One sample shows no spread at all.
    """
    sums = rows[:, :2]
    if not np.isfinite(sums.sum()):
        return Estimate(-EQUAL_DB, -EQUAL_DB, -EQUAL_DB)
    (value,) = _decibels(sums.sum(0, keepdims=True)).tolist()
    low, high = percentile_interval(sums, _decibels) if len(sums) > 1 else (value, value)
    return Estimate(value, min(low, value), max(high, value))


def _decibels(sums: np.ndarray) -> np.ndarray:
    """Return the SQNR of each row of sums. `sums`: [rows, 2], signal and noise."""
    signal, noise = sums[:, 0], sums[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = 10 * np.log10(signal / noise)
    return np.where(noise == 0, EQUAL_DB, np.clip(values, -EQUAL_DB, EQUAL_DB))


def _agreement(answers: Record, name: str) -> Estimate | None:
    """Return the agreement as a right-or-wrong metric that the float32 file has all right."""
    if name not in answers.agreement:
        return None
    odds = answers.agreement[name]
    ones = np.ones(len(odds))
    drop = paired_drop(TopK(1), np.stack([ones, ones], 1), np.stack([odds, ones], 1))
    return Estimate(1 - drop.value, 1 - drop.high, min(1 - drop.low, 1.0))
