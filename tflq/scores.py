"""Scores of the report from the records of samples: metric, fidelity, gates, and signs of a wrong file."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tflq.evaluate.record import Record
from tflq.gates import FileGates
from tflq.metrics.channel_figures import MIN_SAMPLES, centered_sqnr_db, channel_figures
from tflq.metrics.drop import paired_drop
from tflq.metrics.fidelity import fidelity
from tflq.metrics.metric import Metric, value_of
from tflq.result import UNTRAINED, File, FileFigures, Gain, Gate, Output, Score, Variant
from tflq.rules.effect import Severity
from tflq.rules.violation import Violation

NEAR_SOURCE_DB = 30.0
"""Below this SQNR, the float32 file computes something other than its source. Rounding alone gives more."""

PEERS = {"qat_int8": ("int8", "int8_only"), "qat_int8_only": ("int8_only", "int8")}
"""The post-training modes that quantization-aware training is compared with. The first one present counts."""
FLOATING = ("float32", "float16")
"""The modes whose files lose nothing by quantization, so that a loss comes from training."""


def metric_value(metric: Metric | None, record: Record) -> float | None:
    """Return the metric over all samples of the record, or None without a metric."""
    return value_of(metric, record.statistics) if metric else None


def score(metric: Metric, base: Record, record: Record, limit: float | None) -> Score:
    """Return the metric and its paired drop from `base`.

    If the 95 % interval of the drop includes the limit, the score has the number of samples needed. Without a limit, it
    is 0.
    """
    drop = paired_drop(metric, base.statistics, record.statistics)
    if all(rows[:, 1].sum() == 0 for rows in record.errors.values()):
        drop = replace(
            drop, low=drop.value, high=drop.value, deviation=0.0
        )  # all outputs equal those of the float32 file
    limit = limit or 0.0
    is_certain = not drop.low <= limit <= drop.high or drop.deviation == 0
    value = value_of(metric, record.statistics)
    needed = None if is_certain else drop.samples_to_tell_from(limit)
    return Score(metric.name, value, drop.value, (drop.low, drop.high), drop.samples, needed)


def outputs(record: Record) -> dict[str, Output]:
    """Return the fidelity of each output, by its name."""
    return {name: _output(record, name) for name in record.errors}


def _output(record: Record, name: str) -> Output:
    near = fidelity(record.errors[name])
    agreement = float(record.agreement[name].mean()) if name in record.agreement else None
    sqnr = None if near.sqnr_db == math.inf else max(near.sqnr_db, -200.0)
    sums = record.channels.get(name)
    by_channel = (centered_sqnr_db(sums), channel_figures(sums)) if sums else (None, None)
    figures = sqnr, near.cosine, near.max_abs_error, near.mse, agreement
    return Output(*figures, *by_channel, psnr_db=near.psnr_db, peak=near.peak)


def gates(request: FileGates, file: File, size_ratio: float, measured: FileFigures | None) -> tuple[Gate, ...]:
    """Return a verdict for every gate of the recipe that could be measured."""
    verdicts = []
    if request.max_size_bytes is not None:
        limit = float(request.max_size_bytes)
        verdicts.append(Gate("max_size_bytes", limit, float(file.size_bytes), file.size_bytes <= limit, certain=True))
    if request.max_size_ratio is not None:
        limit = request.max_size_ratio
        verdicts.append(Gate("max_size_ratio", limit, size_ratio, size_ratio <= limit, certain=True))
    return (*verdicts, *_sampled_gates(request, measured)) if measured else tuple(verdicts)


def _sampled_gates(request: FileGates, measured: FileFigures) -> Iterator[Gate]:
    if request.max_metric_drop is not None and measured.metric is not None:
        drop, limit = measured.metric.drop, request.max_metric_drop
        yield Gate("max_metric_drop", limit, drop, drop <= limit, certain=measured.metric.samples_needed is None)
    agreements = [output.agreement for output in measured.fidelity.values() if output.agreement is not None]
    if request.min_agreement is not None:
        lowest = min(agreements, default=None)
        yield Gate("min_agreement", request.min_agreement, lowest, (lowest or 0) >= request.min_agreement, certain=True)
    dead = sum(len(output.channels.dead) for output in measured.fidelity.values() if output.channels)
    if request.max_dead_channels is not None and (dead or request.max_dead_channels):
        passed = dead <= request.max_dead_channels
        yield Gate("max_dead_channels", float(request.max_dead_channels), float(dead), passed, certain=True)
    if request.min_sqnr_db is not None:
        finite = [output.sqnr_db for output in measured.fidelity.values() if output.sqnr_db is not None]
        lowest_db = min(finite, default=None)
        passed = lowest_db is None or lowest_db >= request.min_sqnr_db
        yield Gate("min_sqnr_db", request.min_sqnr_db, lowest_db, passed, certain=True)


def with_gains(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return the variants. A trained one gets its gain over the same mode without training."""
    return tuple(replace(variant, gain=_gain(variant, variants)) for variant in variants)


def _gain(variant: Variant, variants: Sequence[Variant]) -> Gain | None:
    others = [
        other for mode in PEERS.get(variant.mode or "", (variant.mode,)) for other in variants if other.mode == mode
    ]
    peers = [other for other in others if not other.is_trained and other.measured and other.measured.metric]
    score = variant.measured.metric if variant.measured else None
    if not variant.is_trained or score is None:
        return None
    if not peers:
        is_clear = variant.mode in FLOATING and score.ci95[0] > 0
        return Gain(UNTRAINED, -score.drop, 0.0, needs_more_training=is_clear)
    drops = {peer.name: peer.measured.metric.drop for peer in peers if peer.measured and peer.measured.metric}
    against, best = peers[0].name, min(drops, key=lambda name: drops[name])
    better = best if drops[best] < score.drop else ""
    return Gain(against, drops[against] - score.drop, drops[against], better)


def suspicious_outputs(record: Record, float32: Record) -> Iterator[Violation]:
    """Yield signs of a wrong file: NaN, or a constant output."""
    not_finite = int(np.count_nonzero(~record.is_finite))
    if not_finite:
        also = ", and so does the float32 file" if not float32.is_finite.all() else ""
        yield _violation(
            "the file", f"outputs NaN or Inf on {not_finite} of {len(record.is_finite)} samples{also}", "error"
        )
    for name, spread in record.spread.items():
        power, size = float32.errors[name][:, [0, 5]].sum(0).tolist()
        if not size:
            message = "has no elements for any sample, so it was not compared"
            yield _violation(f"output {name!r}", message, "warning")
            continue
        level = float(np.sqrt(power / size))
        moved = float(float32.spread[name].max())
        if len(spread) > 1 and spread.max() == 0 and moved > 0.01 * level and moved > 0:
            yield _violation(
                f"output {name!r}", "is the same for every sample, but the float32 file's output varies", "error"
            )


def constant_outputs(float32: Record) -> Iterator[str]:
    """Yield a sentence about the outputs of the float32 file that are the same for all samples, if there are any."""
    count = len(float32.is_finite)
    names = [repr(name) for name, distances in float32.spread.items() if count > 1 and not np.any(distances)]
    if names:
        yield (
            f"the float32 file answers the same for all {count} samples in {', '.join(names)}, so the figures of"
            " these outputs say nothing. Check that the data is what the model takes"
        )


@dataclass(frozen=True)
class LowOutput:
    """An output below a limit of the verdict."""

    name: str
    verdict: Literal["poor", "broken"]
    sqnr_db: float
    limit: float

    @property
    def in_words(self) -> str:
        """The figures of the output, as the rest of a sentence about it."""
        figure = f"SQNR {self.sqnr_db:.1f} dB, below {self.limit:g} dB"
        if self.sqnr_db < 0:
            return f"is worse than an answer that is always the mean of the float32 file's output ({figure})"
        share = f"the error is {10 ** (-self.sqnr_db / 20):.0%} as large as it varies"
        return f"is far from the float32 file's output: {share} ({figure})"


def low_outputs(request: FileGates, record: Record, scored: Collection[str]) -> Iterator[LowOutput]:
    """Yield the outputs whose SQNR is below a limit of the verdict.

    The signal is the deviation from the mean. It is the output itself if there are fewer than MIN_SAMPLES samples, or
    if the output hardly varies: then less is known, and the ratio is higher. Whole numbers, such as classes and one-hot
    vectors, are decisions, so that an error has no size. `scored` are the outputs whose metric passed a gate: the
    metric tells more about them.
    """
    for name, rows in record.errors.items():
        sums = record.channels.get(name)
        if name in scored or sums is None or sums.is_whole or not record.is_finite.all():
            continue
        sqnr_db = fidelity(rows).sqnr_db
        if sums.samples >= MIN_SAMPLES and (centered := centered_sqnr_db(sums)) is not None:
            sqnr_db = min(sqnr_db, centered)
        for verdict, limit in (("broken", request.broken_below_db), ("poor", request.poor_below_db)):
            if limit is not None and -math.inf < sqnr_db < limit:
                yield LowOutput(name, verdict, sqnr_db, limit)  # type: ignore[arg-type]
                break


def source_mismatches(source: Record) -> Iterator[Violation]:
    """Yield an error for each output of the float32 file that differs from the source.

    Samples on which the source itself is not finite are left out.
    """
    for name, rows in source.errors.items():
        finite = rows[source.is_finite]
        near = fidelity(finite) if len(finite) else None
        if near and not near.sqnr_db >= NEAR_SOURCE_DB:
            yield _violation(
                f"output {name!r}",
                "of the float32 .tflite differs from the output of the source in TensorFlow:"
                f" SQNR {near.sqnr_db:.1f} dB, largest error {near.max_abs_error:.3g}",
                "error",
            )


def _violation(where: str, message: str, severity: Severity) -> Violation:
    return Violation("V13", where, message, severity)
