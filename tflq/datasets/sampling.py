"""Select rows of a dataset: a seeded random sample, the first rows, or all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tflq.datasets.dataset import Dataset
from tflq.datasets.random import Random
from tflq.errors import DatasetError


@dataclass(frozen=True)
class Selection:
    """The rows of a dataset that are read."""

    indices: Sequence[int]
    """The indices in increasing order. They have no end for all rows of a dataset of unknown length."""
    total: int | None
    """The number of rows; None if it is known only after reading all of them."""


def select(dataset: Dataset, samples: int | Literal["all"], seed: int | Literal["first"]) -> Selection:
    """Choose a seeded random sample of the rows without replacement, or the first rows.

    A dataset with fewer rows is used whole. If the number of rows is unknown, the first rows are used with any seed.
    Raise DatasetError if there are no rows.
    """
    total = dataset.count()
    if total == 0:
        raise DatasetError(f"{dataset}: has no rows")
    if total is None:
        if isinstance(dataset, Random) and samples == "all":
            raise DatasetError(f"{dataset}: have no end: give samples as a number, not as all")
        return Selection(range(sys.maxsize if samples == "all" else samples), None)
    count = total if samples == "all" else min(samples, total)
    if seed == "first" or count == total:
        return Selection(range(count), total)
    chosen = np.random.Generator(np.random.PCG64(seed)).choice(total, count, replace=False)
    return Selection(tuple(sorted(chosen.tolist())), total)
