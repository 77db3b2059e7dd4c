"""What changed since the baseline of a batch, better or worse, in a few words for each model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tflq.batch.baseline import SummaryBaseline
from tflq.batch.summary import BatchSummary, VariantRow

SAME_SIZE = 0.001
"""Sizes are the same if they differ by less than this share."""
SAME_DB, SAME_VALUE = 0.1, 0.00005
"""SQNRs and metrics are the same if they differ by less than this."""


def changes(summary: BatchSummary, baseline: SummaryBaseline) -> dict[str, str]:
    """Return for each model that changed what changed, such as `int8: size −3.0 %, SQNR +1.2 dB`."""
    known = {model for model, _ in baseline.variants}
    found = {}
    for model in summary.models:
        parts = [f"{row.name}: {text}" for row in model.rows if (text := _of_variant(model.name, row, baseline))]
        if model.rows and model.name not in known:
            parts = ["new"]
        if parts:
            found[model.name] = "; ".join(parts)
    return found


def _of_variant(model: str, row: VariantRow, baseline: SummaryBaseline) -> str:
    before = baseline.variants.get((model, row.name))
    return "new" if before is None else ", ".join(_differences(before, row))


def _differences(before: Mapping[str, Any], now: VariantRow) -> Iterator[str]:
    if before["status"] != now.status:
        yield f"{before['status']} → {now.status}"
    if before["size_bytes"] and now.size_bytes:
        change = now.size_bytes / before["size_bytes"] - 1
        if abs(change) >= SAME_SIZE:
            yield f"size {change:+.1%}"
    if before["metric"] == now.metric and before["value"] is not None and now.value is not None:
        change = now.value - before["value"]
        if abs(change) >= SAME_VALUE:
            yield f"{now.metric} {change:+.4f}"
    if before["sqnr_db"] is not None and now.sqnr_db is not None:
        change = now.sqnr_db - before["sqnr_db"]
        if abs(change) >= SAME_DB:
            yield f"SQNR {change:+.1f} dB"
