"""Figures over all models of a batch: each variant in the zoo, and the files that no other file beats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from tflq.batch.summary import BatchSummary, Model, VariantRow

SEVERITY = ("ok", "poor", "failed", "broken", "error")
"""The verdicts from the mildest to the most serious one."""


@dataclass(frozen=True)
class ZooFile:
    """A measured file of the zoo with its size and its fidelity."""

    model: str
    row: VariantRow
    ratio: float
    """Its size, divided by that of the float32 file."""
    sqnr_db: float


@dataclass(frozen=True)
class ZooVariant:
    """One variant over all models that have it."""

    name: str
    verdicts: dict[str, int]
    """Verdict → number of models."""
    ratio: float | None
    """The median of the size ratios."""
    sqnr_db: float | None
    """The median SQNR."""
    lowest: ZooFile | None
    """The file with the lowest SQNR."""
    drop: float | None
    """The median drop."""
    largest_drop: tuple[float, str] | None
    """The largest drop, and its model."""
    unbeaten: int
    """The number of models of which no other variant that is ok is smaller and as near to float32."""

    @property
    def files(self) -> int:
        return sum(self.verdicts.values())


def model_verdict(model: Model) -> str:
    """Return the most serious verdict of the variants, or the state of a model without variants."""
    if not model.rows:
        return "error" if model.state == "failed" else model.state
    return max(
        (row.status for row in model.rows), key=lambda status: SEVERITY.index(status) if status in SEVERITY else 9
    )


def zoo_files(models: Iterable[Model]) -> Iterator[ZooFile]:
    """Yield the files with a known size and SQNR. Files equal to float32 have no SQNR."""
    for model in models:
        for row in model.rows:
            if row.size_ratio is not None and row.sqnr_db is not None:
                yield ZooFile(model.name, row, row.size_ratio, row.sqnr_db)


def zoo_front(files: Iterable[ZooFile]) -> list[ZooFile]:
    """Return the files with the verdict ok that no other one beats in both, by increasing size."""
    best: list[ZooFile] = []
    for each in sorted((f for f in files if f.row.status == "ok"), key=lambda f: (f.ratio, -f.sqnr_db)):
        if not best or each.sqnr_db > best[-1].sqnr_db:
            best.append(each)
    return best


def zoo_variants(summary: BatchSummary) -> list[ZooVariant]:
    """Return the figures of each variant, the most frequent one first."""
    rows: dict[str, list[tuple[str, VariantRow]]] = {}
    for model in summary.models:
        for row in model.rows:
            rows.setdefault(row.name, []).append((model.name, row))
    unbeaten = Counter(each.row.name for model in summary.models for each in zoo_front(zoo_files([model])))
    variants = [_variant(name, found, unbeaten[name]) for name, found in rows.items()]
    return sorted(variants, key=lambda each: -each.files)


def _variant(name: str, rows: Sequence[tuple[str, VariantRow]], unbeaten: int) -> ZooVariant:
    files = [
        ZooFile(model, row, row.size_ratio, row.sqnr_db)
        for model, row in rows
        if row.size_ratio is not None and row.sqnr_db is not None
    ]
    drops = [(row.drop, model) for model, row in rows if row.drop is not None]
    ratios = [row.size_ratio for _, row in rows if row.size_ratio is not None]
    return ZooVariant(
        name=name,
        verdicts=dict(Counter(row.status for _, row in rows)),
        ratio=median(ratios) if ratios else None,
        sqnr_db=median(file.sqnr_db for file in files) if files else None,
        lowest=min(files, key=lambda file: file.sqnr_db, default=None),
        drop=median(drop for drop, _ in drops) if drops else None,
        largest_drop=max(drops, default=None),
        unbeaten=unbeaten,
    )
