"""A record of answers as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tflq.evaluate import Record

BY_OUTPUT = ("errors", "agreement", "spread")


def save(record: Record, path: Path) -> None:
    arrays = {"statistics": record.statistics, "is_finite": record.is_finite, "is_familiar": record.was_calibrated_on}
    for field in BY_OUTPUT:
        by_output: Mapping[str, np.ndarray] = getattr(record, field)
        arrays[field] = np.array(list(by_output), np.str_)
        arrays |= {f"{field}{place}": values for place, values in enumerate(by_output.values())}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load(path: Path) -> Record:
    with np.load(path, allow_pickle=False) as held:
        fields = {
            field: {str(name): held[f"{field}{place}"] for place, name in enumerate(held[field])} for field in BY_OUTPUT
        }
        return Record(
            statistics=held["statistics"],
            errors=fields["errors"],
            agreement=fields["agreement"],
            spread=fields["spread"],
            is_finite=held["is_finite"],
            was_calibrated_on=held["is_familiar"],
        )
