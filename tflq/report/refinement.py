"""The part of the reports about corrections before quantization: compared configurations and changed layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tflq.refine import (
    CERTAIN_ERRORS,
    CERTAIN_GAIN_DB,
    CLEAR_GAIN_DB,
    MIN_CALLS,
    MIN_GAIN_DB,
    LayerCorrection,
    RefinementReport,
)
from tflq.report.table import markdown_table
from tflq.result import Result

MAX_LAYERS = 8
"""The number of layers listed for a file: those with the largest changes of a bias."""


def refinement(result: Result) -> Iterator[str]:
    """Yield the blocks of the page; there are none if no variant requests corrections."""
    reports = [(variant.name, variant.refinement) for variant in result.variants if variant.refinement]
    if not reports:
        return
    yield "## Before quantizing"
    compared = [(name, report) for name, report in reports if report.scores]
    if compared:
        configs = list(dict.fromkeys(score.config.in_words for _, report in compared for score in report.scores))
        yield _rule(compared[0][1].calls)
        yield markdown_table(
            ("tried", *(name for name, _ in compared)),
            [(config, *(_cell(report, config) for _, report in compared)) for config in configs],
        )
    rows = [(files, *row) for files, corrections in _files_by_corrections(reports) for row in _layers(corrections)]
    if rows:
        yield (
            "The layers with the largest changes of a bias. `error` is the variance that rounded weights add to the"
            " outputs of the layer; for weights rounded to nearest it is 1."
        )
        yield markdown_table(("file", "op", "tensor", "largest shift", "error"), rows)


def _rule(calls: int) -> str:
    """Return the sentences about how `best_score` selects a configuration."""
    return (
        f"SQNR in dB on {calls} hold-out calls, averaged over outputs; a call has `batch_size` calibration samples. The"
        f" full combination is kept if it beats the first by {MIN_GAIN_DB:g} dB, unless another one is clearly better."
        f" Clearly better means by {CLEAR_GAIN_DB:g} dB, or by {CERTAIN_GAIN_DB:g} dB and {CERTAIN_ERRORS:g} standard"
        f" errors on {MIN_CALLS} calls or more; smaller differences may be noise. Otherwise the best one that beats the"
        " first is kept, if there is one."
    )


def _files_by_corrections(
    reports: Sequence[tuple[str, RefinementReport]],
) -> list[tuple[str, tuple[LayerCorrection, ...]]]:
    """Return the corrections, each with the names of the variants that have them."""
    names: dict[tuple[LayerCorrection, ...], list[str]] = {}
    for name, report in reports:
        names.setdefault(report.corrections, []).append(name)
    return [(", ".join(files), corrections) for corrections, files in names.items()]


def _cell(report: RefinementReport, config: str) -> str:
    is_kept = ", kept" if report.config.in_words == config else ""
    return next((f"{score.mean:.1f}{is_kept}" for score in report.scores if score.config.in_words == config), "")


def _layers(corrections: Sequence[LayerCorrection]) -> Iterator[tuple[str, ...]]:
    for layer in sorted(corrections, key=lambda layer: -layer.shift)[:MAX_LAYERS]:
        yield layer.op, f"`{layer.tensor.partition(';')[0]}`", f"{layer.shift:.3g}", f"{layer.error:.2f}"


def to_dict(report: RefinementReport) -> dict[str, Any]:
    """Return the part of report.json about one variant."""
    config = report.config
    return {
        "bias_correction": config.corrections.bias,
        "rounding": config.corrections.rounding,
        "equalization": config.equalization,
        "headroom": config.headroom,
        "mse_ranges": config.mse,
        "held_back_calls": report.calls,
        "attempts": [{"tried": score.config.in_words, "sqnr_db": dict(score.sqnr_db)} for score in report.scores],
        "layers": [
            {
                "op": layer.op,
                "index": layer.operator,
                "tensor": layer.tensor,
                "shift": layer.shift,
                "error": layer.error,
            }
            for layer in report.corrections
        ],
        "fault": report.obstacle,
    }
