"""The part of the reports about corrections before quantization: compared configurations and changed layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tflq.refine import (
    BY_KEY,
    CORRECTIONS,
    MAX_HEADROOM_LOSS_DB,
    MIN_GAIN_DB,
    SIMILAR_DB,
    HoldoutScore,
    LayerCorrection,
    RefinementReport,
)
from tflq.report.table import markdown_table
from tflq.result import Result

EQUAL_WEIGHTS = 0.8
"""The ratio of the smallest to the largest weight of outputs from which the page does not list the weights."""
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
        yield from explanation([report for _, report in compared])
        yield markdown_table(
            ("tried", *(name for name, _ in compared)),
            [(config, *(_cell(report, config) for _, report in compared)) for config in configs],
        )
    clustered = max(sum(layer.is_clustered for layer in report.corrections) for _, report in reports)
    if clustered:
        yield f"{clustered} layers have clustered weights. Rounding and equalization leave them as they are."
    rows = [(files, *row) for files, corrections in _files_by_corrections(reports) for row in _layers(corrections)]
    if rows:
        yield (
            "The layers with the largest changes of a bias. `error` is the mean squared error that rounded weights add"
            " to the outputs of the layer; for weights rounded to nearest it is 1."
        )
        yield markdown_table(("file", "op", "tensor", "largest shift", "error"), rows)


def explanation(reports: Sequence[RefinementReport]) -> Iterator[str]:
    """Yield the paragraphs about the figures of the table, and about how `auto` selects a configuration."""
    yield (
        f"SQNR in dB on {reports[0].calls} hold-out calls, averaged over outputs; a call has `batch_size` calibration"
        " samples. A gain is that over the first configuration, with its standard error. The choices are made in"
        f" turn: {', '.join(each.in_words for each in CORRECTIONS)}. Then all are looked at again. The nearest is kept,"
        f" or a simpler one that is as near within the standard error and {SIMILAR_DB:g} dB. Headroom is for samples"
        f" that are rarer than these calls, so it is kept unless it loses more than {MAX_HEADROOM_LOSS_DB:g} dB. The"
        f" first is kept if none gains {MIN_GAIN_DB:g} dB."
    )
    for weights in {repr(report.scores[0].weights): report.scores[0].weights for report in reports}.values():
        if weights and min(weights.values()) < EQUAL_WEIGHTS * max(weights.values()):
            listed = ", ".join(f"`{name}` {weight:.2f}" for name, weight in weights.items())
            yield f"An output whose SQNR is uncertain on these calls counts less in the mean. The weights are {listed}."
    on_all_calls = {repr(report.on_all_calls): report.on_all_calls for report in reports if report.on_all_calls}
    for without, with_headroom in on_all_calls.values():
        yield (
            "Headroom loses too much on the hold-out calls. So both files were compared again on"
            f" {without.calls} calls, in parts. The ranges for each part are those of all other calls."
            f" Without headroom ({without.config.in_words}), the SQNR is {without.mean:.1f} dB; with it, it is"
            f" {with_headroom.mean:.1f} dB."
        )
    left_out = dict.fromkeys(key for report in reports for key in report.beyond_budget)
    for key in left_out:
        yield (
            f"For a model of this size with so few samples, {BY_KEY[key].in_words} takes too long, so it was not tried."
            f" `{key}: on` applies it."
        )
    if any(report.leaves_out_activations for report in reports):
        yield (
            "For int16, the figures are of rounded weights alone. The rounding of activations is not in them, so the"
            " file itself may be less near."
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
    first, is_kept = report.scores[0], ", kept" if report.config.in_words == config else ""
    score = next((score for score in report.scores if score.config.in_words == config), None)
    if score is None:
        return ""
    return f"{score.mean:.1f}{_gain(score, first)}{is_kept}"


def _gain(score: HoldoutScore, first: HoldoutScore) -> str:
    if score is first:
        return ""
    gain, error = score.gain_db(first)
    return f" ({gain:+.1f} ± {error:.1f})"


def _layers(corrections: Sequence[LayerCorrection]) -> Iterator[tuple[str, ...]]:
    for layer in sorted(corrections, key=lambda layer: -layer.shift)[:MAX_LAYERS]:
        yield layer.op, f"`{layer.tensor.partition(';')[0]}`", f"{layer.shift:.3g}", f"{layer.error:.2f}"


def to_dict(report: RefinementReport) -> dict[str, Any]:
    """Return the part of report.json about one variant."""
    config = report.config
    return {
        **config.switches,
        "headroom": config.headroom,
        "ranges": config.ranges
        if config.ranges is None or isinstance(config.ranges, str)
        else config.ranges.model_dump(),
        "held_back_calls": report.calls,
        "leaves_out_activations": report.leaves_out_activations,
        "attempts": [_attempt(score, report.scores[0]) for score in report.scores],
        "beyond_budget": list(report.beyond_budget),
        "output_weights": dict(report.scores[0].weights) if report.scores else {},
        "on_all_calls": [_attempt(score, report.on_all_calls[0]) for score in report.on_all_calls],
        "layers": [
            {
                "op": layer.op,
                "index": layer.operator,
                "tensor": layer.tensor,
                "shift": layer.shift,
                "error": layer.error,
                "clustered": layer.is_clustered,
            }
            for layer in report.corrections
        ],
        "fault": report.obstacle,
    }


def _attempt(score: HoldoutScore, first: HoldoutScore) -> dict[str, Any]:
    gain, error = score.gain_db(first)
    return {
        "tried": score.config.in_words,
        "sqnr_db": dict(score.sqnr_db),
        "gain_db": gain,
        "standard_error_db": error,
    }
