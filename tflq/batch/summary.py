"""The summary of a batch: a row for every model and variant, read from the reports in the output folders."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tflq.errors import TflqError
from tflq.metrics.metric_list import is_higher_better
from tflq.verdicts import Gate

SCHEMA_VERSION = 1
SLOWEST = 10
State = Literal["made", "up to date", "failed", "not reached"]


@dataclass(frozen=True)
class VariantRow:
    """A variant of a model."""

    name: str
    mode: str | None
    status: str
    exit_code: int
    why: str
    """The reason in one line if the status is not ok; else empty."""
    size_bytes: int | None = None
    size_ratio: float | None = None
    metric: str | None = None
    value: float | None = None
    drop: float | None = None
    higher_is_better: bool = True
    sqnr_db: float | None = None
    """The SQNR of the worst output against the float32 file; None if it is equal or was not measured."""
    is_measured: bool = False
    agreement: float | None = None
    latency_ms: float | None = None
    float_ops: int | None = None
    ports: tuple[str, ...] = ()
    """The dtypes of the inputs, then of the outputs."""
    gates: tuple[Gate, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Model:
    """The outcome of one model."""

    name: str
    state: State
    why: str
    """The reason why it was converted, or the error of the model as a whole."""
    exit_code: int
    output: str | None = None
    seconds: float = 0.0
    rows: tuple[VariantRow, ...] = ()
    stages: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Regression:
    """A variant that is worse than in the baseline."""

    model: str
    variant: str
    what: str

    def __str__(self) -> str:
        return f"{self.model} {self.variant}: {self.what}"


@dataclass(frozen=True)
class BatchSummary:
    models: tuple[Model, ...]
    seconds: float
    regressions: tuple[Regression, ...] = ()
    was_interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """The most serious code of all models. A regression counts as a failed gate."""
        codes = [model.exit_code for model in self.models]
        return 130 if self.was_interrupted else max([*codes, 1 if self.regressions else 0])

    @property
    def states(self) -> dict[str, int]:
        """State → number of models."""
        return dict(Counter(model.state for model in self.models))

    @property
    def verdicts(self) -> dict[str, int]:
        """Status → number of variants."""
        return dict(Counter(row.status for model in self.models for row in model.rows))

    @property
    def size_bytes(self) -> int:
        """The total size of all files."""
        return sum(row.size_bytes or 0 for model in self.models for row in model.rows)

    @property
    def slowest(self) -> list[tuple[str, str, float]]:
        """Model, stage and seconds of the slowest stages of this run."""
        stages = [(model.name, *stage) for model in self.models if model.state == "made" for stage in model.stages]
        return sorted(stages, key=lambda stage: -stage[2])[:SLOWEST]


def from_report(name: str, state: State, why: str, output: Path) -> Model:
    """Return the model whose report.json is in the output folder; OSError if there is none."""
    report = json.loads((output / "report.json").read_bytes())
    metric = (report["recipe"].get("evaluation") or {}).get("metric")
    rows = tuple(_row(variant, metric is None or is_higher_better(metric)) for variant in report["variants"])
    stages = tuple((stage["name"], stage["seconds"]) for stage in report["stages"])
    return Model(name, state, why, report["exit_code"], str(output), report["seconds"], rows, stages)


def failed(name: str, error: TflqError, output: Path | None = None, seconds: float = 0.0) -> Model:
    return Model(name, "failed", str(error), error.exit_code, str(output) if output else None, seconds)


def _row(variant: Mapping[str, Any], higher_is_better: bool) -> VariantRow:
    metric, latency = variant["metric"] or {}, variant["latency_ms"] or {}
    outputs = (variant["fidelity"] or {}).values()
    return VariantRow(
        name=variant["name"],
        mode=variant["mode"],
        status=variant["status"],
        exit_code=variant["exit_code"],
        why=variant["why"],
        size_bytes=variant["size_bytes"],
        size_ratio=variant["size_ratio"],
        metric=metric.get("name"),
        value=metric.get("value"),
        drop=metric.get("drop"),
        higher_is_better=higher_is_better,
        sqnr_db=_least(output["sqnr_db"] for output in outputs),
        is_measured=bool(outputs),
        agreement=_least(output["agreement"] for output in outputs),
        latency_ms=latency.get("median"),
        float_ops=None if variant["float_ops"] is None else len(variant["float_ops"]),
        ports=tuple(port["dtype"] for port in [*(variant["inputs"] or ()), *(variant["outputs"] or ())]),
        gates=tuple(Gate(g["name"], g["bar"], g["measured"], g["passed"], g["certain"]) for g in variant["gates"]),
        seconds=variant["seconds"],
    )


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def to_json(summary: BatchSummary, version: str) -> str:
    """Return summary.json, the contract for machines, with one line for each model.

    Within a schema version, keys are only added.
    """
    slowest = [{"model": model, "stage": stage, "seconds": seconds} for model, stage, seconds in summary.slowest]
    plain = {
        "schema_version": SCHEMA_VERSION,
        "tflq": version,
        "exit_code": summary.exit_code,
        "interrupted": summary.was_interrupted,
        "seconds": summary.seconds,
        "totals": {"models": summary.states, "variants": summary.verdicts, "size_bytes": summary.size_bytes},
        "regressions": summary.regressions,
        "models": [],
        "slowest_stages": slowest,
    }
    # with an indent, the encoder is that in Python, which takes several times as long
    rows = ",\n    ".join(_encode(_plain(model)) for model in summary.models)
    text = _encode(plain, indent=2)  # quotes inside strings are escaped, so only the key itself is replaced
    return (text.replace('"models": []', f'"models": [\n    {rows}\n  ]', 1) if rows else text) + "\n"


def _encode(plain: Mapping[str, Any], indent: int | None = None) -> str:
    # `vars` writes a dataclass as an object without the deep copies that `asdict` makes
    return json.dumps(plain, indent=indent, ensure_ascii=False, allow_nan=False, default=vars)


def _plain(model: Model) -> dict[str, Any]:
    plain = dict(vars(model))
    return plain | {"variants": plain.pop("rows")}
