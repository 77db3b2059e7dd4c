"""The constants that differ between two files, and by how much. Quantized constants are compared as real numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from tflq.diff.matching import OperatorMatch
from tflq.flatbuffer import Tensor, has_real_values, real_values, stored_constants

SHOWN_VALUES = 8
"""A changed constant of integers with at most so many values is shown with its values."""


@dataclass(frozen=True)
class ConstantChange:
    """A constant that differs. Without the figures, its values could not be compared."""

    tensor: str
    """The name in the second file, or in the first one if only that has it."""
    op: str
    """The number and the type of an op that reads it, in the second file."""
    before: str
    """The dtype and shape in the first file; empty if only the second file has it."""
    after: str
    bytes_before: int
    bytes_after: int
    sqnr_db: float | None = None
    """The SQNR of the second file's real values against those of the first file. It is infinite if they are equal."""
    max_abs_difference: float | None = None
    peak: float | None = None
    """The largest magnitude in the first file."""
    changed: float | None = None
    """The share of the real values that differ, from 0 to 1."""
    values: str = ""
    """Both values, if they are a few integers."""

    @property
    def has_other_values(self) -> bool:
        """Whether the real values differ, or cannot be compared."""
        return self.changed != 0

    @property
    def is_rounded(self) -> bool:
        """Whether the values are stored in another dtype, so that they differ at least by rounding."""
        return self.before.partition(" ")[0] != self.after.partition(" ")[0] and self.sqnr_db is not None

    @property
    def rank(self) -> float:
        """The key that sorts the largest change first."""
        return -math.inf if self.sqnr_db is None else self.sqnr_db


def constant_changes(match: OperatorMatch) -> Iterator[ConstantChange]:
    """Yield the constants that matched ops of one type read and that differ, each pair of constants once."""
    stored = stored_constants(match.before), stored_constants(match.after)
    seen: set[tuple[int | None, int | None]] = set()
    for ours, theirs in (pair for pair in match.pairs if pair[0].type == pair[1].type):
        for one, other in zip_longest(ours.inputs, theirs.inputs, fillvalue=-1):
            before, after = stored[0].get(one), stored[1].get(other)
            key = before.index if before else None, after.index if after else None
            if key in seen or (before is None and after is None):
                continue
            seen.add(key)
            op = f"#{theirs.index} {theirs.type}"
            if before is None or after is None:
                yield _single(op, before, after)
            elif not _is_equal(before, after):
                yield _compared(op, before, after)


def _single(op: str, before: Tensor | None, after: Tensor | None) -> ConstantChange:
    present = after or before
    assert present is not None
    sizes = [tensor.size_bytes if tensor else 0 for tensor in (before, after)]
    return ConstantChange(present.name, op, _described(before), _described(after), sizes[0], sizes[1])


def _described(tensor: Tensor | None) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}" if tensor else ""


def _is_equal(before: Tensor, after: Tensor) -> bool:
    one, other = before.quantization, after.quantization
    is_alike = (before.dtype, before.shape, before.is_sparse) == (after.dtype, after.shape, after.is_sparse)
    if not is_alike or (one is None) != (other is None) or (one and other and one.scales != other.scales):
        return False
    zeros = [set(each.zero_points) if each else {0} for each in (one, other)]
    return zeros[0] == zeros[1] and np.array_equal(before.stored, after.stored)  # type: ignore[arg-type]


def _compared(op: str, before: Tensor, after: Tensor) -> ConstantChange:
    facts = (after.name, op, _described(before), _described(after), before.size_bytes, after.size_bytes)
    if before.shape != after.shape or not (has_real_values(before) and has_real_values(after)):
        return ConstantChange(*facts)
    one, other = real_values(before), real_values(after)
    with np.errstate(invalid="ignore"):  # infinity − infinity
        is_same = (one == other) | (np.isnan(one) & np.isnan(other))
        difference = np.where(is_same, 0.0, np.abs(other - one))
    return ConstantChange(
        *facts,
        sqnr_db=_decibels(one, difference),
        max_abs_difference=float(difference.max(initial=0)),
        peak=float(np.abs(one).max(initial=0)),
        changed=float((difference != 0).mean()) if difference.size else 0.0,
        values=_values(before, after),
    )


def _decibels(values: np.ndarray, difference: np.ndarray) -> float:
    signal, noise = float(np.square(values).sum()), float(np.square(difference).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if 0 < signal < math.inf and noise < math.inf else -math.inf


def _values(before: Tensor, after: Tensor) -> str:
    if before.is_float or before.quantization or math.prod(before.shape) > SHOWN_VALUES:
        return ""
    one, other = (np.asarray(tensor.data).tolist() for tensor in (before, after))
    return f"{one} → {other}"
