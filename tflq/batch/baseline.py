"""Whether variants got worse than an earlier summary.json has them."""

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
"""Beyond this, outputs are equal up to the order of sums."""


@dataclass(frozen=True)
class Tolerances:
    """How much worse a variant may get."""

    size: float = 0.01
    """Of its bytes."""
    metric: float = 0.005
    """In the metric's own unit."""
    sqnr_db: float = 1.0
    float_ops: float = 0.0


@dataclass(frozen=True)
class SummaryBaseline:
    """The variants of an earlier summary, as rows of its JSON, by model and variant."""

    variants: Mapping[tuple[str, str], Mapping[str, Any]]
    tolerances: Tolerances
    is_whole: bool
    """Whether a variant that is not there any more is missed."""

    def regressions(self, summary: BatchSummary) -> Iterator[Regression]:
        """What is worse now, and by how much."""
        now = {(model.name, row.name): row for model in summary.models for row in model.rows}
        for (model, variant), before in self.variants.items():
            row = now.get((model, variant))
            if row is not None:
                yield from (Regression(model, variant, what) for what in _worse(before, row, self.tolerances))
            elif self.is_whole:
                yield Regression(model, variant, "is not there any more")


def load(path: Path, tolerances: Sequence[tuple[str, float]], is_whole: bool) -> SummaryBaseline:
    """The summary.json; RecipeError where it is none, or a tolerance has no such name."""
    known = asdict(Tolerances())
    for key, _ in tolerances:
        if key not in known:
            hint = strict.did_you_mean(key, known)
            raise RecipeError(f"--tolerance {key}: there is no such figure{hint}; there are {', '.join(known)}")
    try:
        plain = json.loads(path.read_bytes())
        if plain["schema_version"] != SCHEMA_VERSION:
            raise RecipeError(f"{path}: is of another version of tflq: make it again")
        rows = {(model["name"], row["name"]): row for model in plain["models"] for row in model["variants"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}: is not a summary.json of tflq batch") from error
    return SummaryBaseline(rows, replace(Tolerances(), **dict(tolerances)), is_whole)


def _worse(before: Mapping[str, Any], now: VariantRow, tolerances: Tolerances) -> Iterator[str]:
    if now.size_bytes is None:
        if before["size_bytes"] is not None:
            yield "cannot be made any more"
        return
    yield from _bigger(before["size_bytes"], now.size_bytes, tolerances.size)
    yield from _less_accurate(before, now, tolerances)
    yield from _less_integer(before, now, tolerances.float_ops)


def _bigger(before: int | None, now: int, tolerance: float) -> Iterator[str]:
    if before and now > before * (1 + tolerance):
        yield f"bigger: {size(now)}, was {size(before)} ({now / before - 1:+.1%})"


def _less_accurate(before: Mapping[str, Any], now: VariantRow, tolerances: Tolerances) -> Iterator[str]:
    if before["metric"] == now.metric and before["value"] is not None and now.value is not None:
        lost = (before["value"] - now.value) * (1 if now.higher_is_better else -1)
        if lost > tolerances.metric:
            moved = now.value - before["value"]
            yield f"less accurate: {now.metric} {now.value:.4f}, was {before['value']:.4f} ({moved:+.4f})"
    if now.sqnr_db is not None and before["is_measured"]:
        was = before["sqnr_db"] or EQUAL_DB
        if was - now.sqnr_db > tolerances.sqnr_db:
            said = f"{was:.1f}" if before["sqnr_db"] else "equal to the float32 file"
            yield f"less accurate: SQNR {now.sqnr_db:.1f} dB, was {said}"


def _less_integer(before: Mapping[str, Any], now: VariantRow, tolerance: float) -> Iterator[str]:
    was = before["float_ops"]
    if was is not None and now.float_ops is not None and now.float_ops > was + tolerance:
        yield f"less integer: {now.float_ops} ops in float, were {was} ({now.float_ops - was:+d})"
    old, new = ", ".join(before["ports"]), ", ".join(now.ports)
    if old.count("float") < new.count("float"):
        yield f"less integer: inputs and outputs are {new}, were {old}"
