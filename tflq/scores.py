"""From what was recorded, sample by sample, to the figures of the report: metric, fidelity, gates, suspicions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tflq.evaluate import Record
from tflq.metrics import Metric, fidelity, paired_drop
from tflq.recipe import Gates
from tflq.result import File, Gain, Gate, Measured, Output, Score, Variant
from tflq.rules import Severity, Violation

NEAR_SOURCE_DB = 30.0
"""The float32 file computes what its source does, up to the order of sums; below this it computes something else."""

FAR_DB = 10.0
"""Below this an output has little left of the float32 file's; whether that is of use only a metric can tell."""

PEERS = {"qat_int8": ("int8", "int8_only"), "qat_int8_only": ("int8_only", "int8")}
"""The modes of the source itself that quantization-aware training is held against, the first that there is."""


def metric_value(metric: Metric | None, record: Record) -> float | None:
    return float(metric.value(record.statistics.sum(0))) if metric else None


def score(metric: Metric, base: Record, record: Record, bar: float | None) -> Score:
    """The metric and its paired drop; settled where its interval leaves out the bar, or 0 where there is none."""
    drop = paired_drop(metric, base.statistics, record.statistics)
    if all(rows[:, 1].sum() == 0 for rows in record.errors.values()):
        drop = replace(drop, low=drop.value, high=drop.value, deviation=0.0)  # the float32 file itself, in effect
    mark = bar or 0.0
    settled = not drop.low <= mark <= drop.high or drop.deviation == 0
    value = float(metric.value(record.statistics.sum(0)))
    needed = None if settled else drop.samples_to_tell_from(mark)
    return Score(metric.name, value, drop.value, (drop.low, drop.high), drop.samples, needed)


def outputs(record: Record) -> dict[str, Output]:
    """The fidelity of each output."""
    return {name: _output(record, name) for name in record.errors}


def _output(record: Record, name: str) -> Output:
    near = fidelity(record.errors[name])
    agreement = float(record.agreement[name].mean()) if name in record.agreement else None
    sqnr = None if near.sqnr_db == math.inf else max(near.sqnr_db, -200.0)
    return Output(sqnr, near.cosine, near.max_abs_error, near.mse, agreement)


def gates(asked: Gates, file: File, size_ratio: float, measured: Measured | None) -> tuple[Gate, ...]:
    """A verdict for every bar of the recipe that could be measured."""
    found = []
    if asked.max_size_bytes is not None:
        bar = float(asked.max_size_bytes)
        found.append(Gate("max_size_bytes", bar, float(file.size_bytes), file.size_bytes <= bar, certain=True))
    if asked.max_size_ratio is not None:
        bar = asked.max_size_ratio
        found.append(Gate("max_size_ratio", bar, size_ratio, size_ratio <= bar, certain=True))
    return (*found, *_sampled_gates(asked, measured)) if measured else tuple(found)


def _sampled_gates(asked: Gates, measured: Measured) -> Iterator[Gate]:
    if asked.max_metric_drop is not None and measured.metric is not None:
        drop, bar = measured.metric.drop, asked.max_metric_drop
        yield Gate("max_metric_drop", bar, drop, drop <= bar, certain=measured.metric.samples_needed is None)
    agreements = [output.agreement for output in measured.fidelity.values() if output.agreement is not None]
    if asked.min_agreement is not None:
        least = min(agreements, default=None)
        yield Gate("min_agreement", asked.min_agreement, least, (least or 0) >= asked.min_agreement, certain=True)
    if asked.min_sqnr_db is not None:
        lowest = min(
            (output.sqnr_db for output in measured.fidelity.values() if output.sqnr_db is not None), default=None
        )
        passed = lowest is None or lowest >= asked.min_sqnr_db
        yield Gate("min_sqnr_db", asked.min_sqnr_db, lowest, passed, certain=True)


def with_gains(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """The variants, the trained ones held against those that were made of the source itself."""
    return tuple(replace(variant, gain=_gain(variant, variants)) for variant in variants)


def _gain(variant: Variant, variants: Sequence[Variant]) -> Gain | None:
    others = [
        other for mode in PEERS.get(variant.mode or "", (variant.mode,)) for other in variants if other.mode == mode
    ]
    peers = [other for other in others if not other.is_trained and other.measured and other.measured.metric]
    score = variant.measured.metric if variant.measured else None
    if not variant.is_trained or score is None or not peers:
        return None
    against = peers[0].measured.metric if peers[0].measured else None
    return Gain(peers[0].name, against.drop - score.drop, against.drop) if against else None


def suspicious_outputs(record: Record, float32: Record) -> Iterator[Violation]:
    """What the answers of a file betray: NaN, one answer whatever the input, or little left of the float32 file's."""
    wrong = int(np.count_nonzero(~record.is_finite))
    if wrong:
        also = ", and so does the float32 file" if not float32.is_finite.all() else ""
        yield _seen("the file", f"answers NaN or Inf on {wrong} of {len(record.is_finite)} samples{also}", "error")
    for name, spread in record.spread.items():
        power, size = float32.errors[name][:, [0, 5]].sum(0).tolist()
        if not size:
            message = "has no element at all for any sample, so that nothing of it was compared"
            yield _seen(f"output {name!r}", message, "warning")
            continue
        level = float(np.sqrt(power / size))
        moved = float(float32.spread[name].max())
        if len(spread) > 1 and spread.max() == 0 and moved > 0.01 * level and moved > 0:
            yield _seen(f"output {name!r}", "is the same for every sample, where the float32 file's varies", "error")
        elif not wrong and -math.inf < (sqnr_db := fidelity(record.errors[name]).sqnr_db) < FAR_DB:
            message = f"is far from the float32 file's: its error is {10 ** (-sqnr_db / 20):.0%} as large as that"
            yield _seen(f"output {name!r}", f"{message} (SQNR {sqnr_db:.1f} dB)", "warning")


def source_mismatches(source: Record) -> Iterator[Violation]:
    """Where the float32 file, and so all that is measured against it, does not compute what the source does.

    Samples for which the source itself has no finite answer tell nothing of that.
    """
    for name, rows in source.errors.items():
        finite = rows[source.is_finite]
        near = fidelity(finite) if len(finite) else None
        if near and not near.sqnr_db >= NEAR_SOURCE_DB:
            yield _seen(
                f"output {name!r}",
                "of the float32 .tflite is not what the source answers in TensorFlow:"
                f" SQNR {near.sqnr_db:.1f} dB, largest error {near.max_abs_error:.3g}",
                "error",
            )


def _seen(where: str, message: str, severity: Severity) -> Violation:
    return Violation("V13", where, message, severity)
