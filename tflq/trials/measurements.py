"""Measurements of a file: estimates from samples, each with its 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tflq import cache, flatbuffer, scores
from tflq.activation_widths import int16_ops
from tflq.contract import float_ops
from tflq.cost_model import work
from tflq.evaluate.record import Record
from tflq.evaluate.section import Evaluation
from tflq.metrics.channel_figures import dead_channels
from tflq.metrics.estimate import Estimate, estimate_agreement, estimate_sqnr_db
from tflq.metrics.metric import Metric


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
    ram_bytes: int | None = None
    """The memory on the targets of the search; None if it is not known, or no compiler was called for the file."""
    estimated_ms: float | None = None
    """The estimated time of a call on these targets; None if it is not known, or no compiler was called."""
    int16_ops: int = 0
    """Number of ops with 16-bit activations."""


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
    dead_channels: int = 0
    """The number of dead channels of all outputs."""


def file_facts(path: Path, is_integer: bool) -> FileFacts:
    """Read the facts of the file. `is_integer`: whether the mode computes in integers."""
    graph = flatbuffer.load(path)
    in_float = sum(1 for _ in float_ops(graph)) if is_integer else 0
    wide = sum(1 for _ in int16_ops(graph))
    return FileFacts(
        sha256=cache.sha256(path),
        size_bytes=graph.size_bytes,
        float_ops=in_float,
        work=work(graph),
        int16_ops=wide,
    )


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
        dead_channels=sum(len(dead_channels(sums)) for sums in answers.channels.values()),
    )


def output_fidelity(answers: Record) -> dict[str, OutputFidelity]:
    """Return the fidelity of each output, by its name."""
    return {name: _output_fidelity(answers, name) for name in answers.errors}


def _output_fidelity(answers: Record, name: str) -> OutputFidelity:
    odds = answers.agreement.get(name)
    agreement = None if odds is None else estimate_agreement(odds)
    return OutputFidelity(estimate_sqnr_db(answers.errors[name]), agreement)


def quality(figures: Measurements, evaluation: Evaluation) -> float:
    """Return the lowest SQNR in dB of the outputs that the metric uses; without a metric, that of all outputs."""
    outputs = figures.outputs
    return min(outputs[name].sqnr_db.value for name in evaluation.scored(list(outputs)))
