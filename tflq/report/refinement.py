"""What was done to the float model before it was quantized, and what that won."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tflq.refine import LayerCorrection, Refinement
from tflq.report.table import markdown_table
from tflq.result import Result

MOST = 8
"""Layers that are listed for a file: those whose biases were shifted most."""


def refinement(result: Result) -> Iterator[str]:
    """Blocks of the page; none where nothing was tried."""
    found = [(variant.name, variant.refinement) for variant in result.variants if variant.refinement]
    if not found:
        return
    yield "## Before quantizing"
    judged = [(name, one) for name, one in found if one.attempts]
    if judged:
        tried = list(dict.fromkeys(attempt.config.in_words for _, one in judged for attempt in one.attempts))
        yield (
            f"What was tried, and the SQNR in dB that it gave on {judged[0][1].calls} calibration samples held back"
            " from it, the mean of all outputs. All of it is kept where it wins, unless less of it wins"
            " by far, or for certain: on so few samples small differences are chance."
        )
        yield markdown_table(
            ("tried", *(name for name, _ in judged)),
            [(what, *(_figure(one, what) for _, one in judged)) for what in tried],
        )
    rows = [(files, *row) for files, corrections in _alike(found) for row in _layers(corrections)]
    if rows:
        yield (
            "The layers whose biases moved most, and the error that their rounded weights add to their outputs, where"
            " that of weights rounded one by one is 1:"
        )
        yield markdown_table(("file", "op", "tensor", "largest shift", "error"), rows)


def _alike(found: Sequence[tuple[str, Refinement]]) -> list[tuple[str, tuple[LayerCorrection, ...]]]:
    """What was corrected, and the files that are made of it."""
    names: dict[tuple[LayerCorrection, ...], list[str]] = {}
    for name, one in found:
        names.setdefault(one.corrections, []).append(name)
    return [(", ".join(files), corrections) for corrections, files in names.items()]


def _figure(found: Refinement, tried: str) -> str:
    is_kept = ", kept" if found.kept.in_words == tried else ""
    return next((f"{one.mean:.1f}{is_kept}" for one in found.attempts if one.config.in_words == tried), "")


def _layers(corrections: Sequence[LayerCorrection]) -> Iterator[tuple[str, ...]]:
    for one in sorted(corrections, key=lambda one: -one.shift)[:MOST]:
        yield one.op, f"`{one.tensor.partition(';')[0]}`", f"{one.shift:.3g}", f"{one.error:.2f}"


def to_dict(found: Refinement) -> dict[str, Any]:
    """For report.json."""
    kept = found.kept
    return {
        "bias_correction": kept.corrections.bias,
        "rounding": kept.corrections.rounding,
        "equalization": kept.equalization,
        "headroom": kept.headroom,
        "mse_ranges": kept.mse,
        "held_back_calls": found.calls,
        "attempts": [{"tried": one.config.in_words, "sqnr_db": dict(one.sqnr_db)} for one in found.attempts],
        "layers": [
            {"op": one.op, "index": one.operator, "tensor": one.tensor, "shift": one.shift, "error": one.error}
            for one in found.corrections
        ],
        "fault": found.fault,
    }
