"""The file of an evaluation record, in NumPy's .npz format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tflq.evaluate.record import Record

BY_OUTPUT = ("errors", "agreement", "spread")
"""The fields of a record with one array for each output."""


def save(record: Record, path: Path) -> None:
    """Write the arrays of the record into one .npz file."""
    arrays = {"statistics": record.statistics, "is_finite": record.is_finite, "is_familiar": record.was_calibrated_on}
    for field in BY_OUTPUT:
        by_output: Mapping[str, np.ndarray] = getattr(record, field)
        arrays[field] = np.array(list(by_output), np.str_)
        arrays |= {f"{field}{place}": values for place, values in enumerate(by_output.values())}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load(path: Path) -> Record:
    """Read a record that `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        fields = {
            field: {str(name): arrays[f"{field}{place}"] for place, name in enumerate(arrays[field])}
            for field in BY_OUTPUT
        }
        return Record(
            statistics=arrays["statistics"],
            errors=fields["errors"],
            agreement=fields["agreement"],
            spread=fields["spread"],
            is_finite=arrays["is_finite"],
            was_calibrated_on=arrays["is_familiar"],
        )
