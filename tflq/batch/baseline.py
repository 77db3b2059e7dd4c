"""The comparison of variants with an earlier summary.json, the baseline."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tflq import strict
from tflq.batch.summary import SCHEMA_VERSION, BatchSummary, Regression, VariantRow
from tflq.errors import RecipeError
from tflq.report.table import size

EQUAL_DB = 100.0
"""Outputs with a higher SQNR are equal, except for the order of floating-point sums."""


@dataclass(frozen=True)
class Tolerances:
    """How much worse than the baseline a variant may be."""

    size: float = 0.01
    """A share of the bytes."""
    metric: float = 0.005
    """A difference in the unit of the metric."""
    sqnr_db: float = 1.0
    float_ops: float = 0.0
    """A number of ops."""


@dataclass(frozen=True)
class SummaryBaseline:
    """The variants of an earlier summary: (model, variant) → its row in the JSON."""

    variants: Mapping[tuple[str, str], Mapping[str, Any]]
    tolerances: Tolerances
    is_whole: bool
    """Whether a missing variant is a regression."""

    def regressions(self, summary: BatchSummary) -> Iterator[Regression]:
        """Yield the variants that are worse than in the baseline, with the difference."""
        now = {(model.name, row.name): row for model in summary.models for row in model.rows}
        for (model, variant), before in self.variants.items():
            row = now.get((model, variant))
            if row is not None:
                yield from (Regression(model, variant, text) for text in _differences(before, row, self.tolerances))
            elif self.is_whole:
                yield Regression(model, variant, "is missing")


def load(path: Path, tolerances: Sequence[tuple[str, float]], is_whole: bool) -> SummaryBaseline:
    """Read the baseline from a summary.json.

    Raise RecipeError if the file is not a summary.json, or if the key of a tolerance is unknown.
    """
    defaults = asdict(Tolerances())
    for key, _ in tolerances:
        if key not in defaults:
            hint = strict.did_you_mean(key, defaults)
            raise RecipeError(f"--tolerance {key}: this key is unknown{hint}; the keys are {', '.join(defaults)}")
    try:
        plain = json.loads(path.read_bytes())
        if plain["schema_version"] != SCHEMA_VERSION:
            raise RecipeError(f"{path}: another version of tflq wrote this summary; write it again with tflq batch")
        rows = {(model["name"], row["name"]): row for model in plain["models"] for row in model["variants"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}: this file is not a summary.json of tflq batch") from error
    return SummaryBaseline(rows, replace(Tolerances(), **dict(tolerances)), is_whole)


def _differences(before: Mapping[str, Any], now: VariantRow, tolerances: Tolerances) -> Iterator[str]:
    if now.size_bytes is None:
        if before["size_bytes"] is not None:
            yield "can no longer be converted"
        return
    yield from _larger(before["size_bytes"], now.size_bytes, tolerances.size)
    yield from _less_accurate(before, now, tolerances)
    yield from _more_float(before, now, tolerances.float_ops)


def _larger(before: int | None, now: int, tolerance: float) -> Iterator[str]:
    if before and now > before * (1 + tolerance):
        yield f"larger: {size(now)}, was {size(before)} ({now / before - 1:+.1%})"


def _less_accurate(before: Mapping[str, Any], now: VariantRow, tolerances: Tolerances) -> Iterator[str]:
    if before["metric"] == now.metric and before["value"] is not None and now.value is not None:
        drop = (before["value"] - now.value) * (1 if now.higher_is_better else -1)
        if drop > tolerances.metric:
            change = now.value - before["value"]
            yield f"less accurate: {now.metric} {now.value:.4f}, was {before['value']:.4f} ({change:+.4f})"
    if now.sqnr_db is not None and before["is_measured"]:
        was = before["sqnr_db"] or EQUAL_DB
        if was - now.sqnr_db > tolerances.sqnr_db:
            was_text = f"{was:.1f}" if before["sqnr_db"] else "equal to the float32 file"
            yield f"less accurate: SQNR {now.sqnr_db:.1f} dB, was {was_text}"


def _more_float(before: Mapping[str, Any], now: VariantRow, tolerance: float) -> Iterator[str]:
    was = before["float_ops"]
    if was is not None and now.float_ops is not None and now.float_ops > was + tolerance:
        yield f"more ops in float: {now.float_ops}, was {was} ({now.float_ops - was:+d})"
    old, new = ", ".join(before["ports"]), ", ".join(now.ports)
    if old.count("float") < new.count("float"):
        yield f"more inputs and outputs in float: {new}, was {old}"
