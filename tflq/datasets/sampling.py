"""Which rows of a dataset are read: a seeded sample, the first, or all."""

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
    """Which rows of a dataset are read."""

    indices: Sequence[int]
    """In increasing order; without known end where the dataset's is not known and all were asked for."""
    total: int | None
    """The rows that the dataset holds; None where only reading them would tell."""


def select(dataset: Dataset, samples: int | Literal["all"], seed: int | Literal["first"]) -> Selection:
    """A seeded sample of the rows without replacement, or the first; all of them where there are not more.

    Of a dataset that cannot be counted the first are taken, whatever the seed. DatasetError where it is empty.
    """
    total = dataset.count()
    if total == 0:
        raise DatasetError(f"{dataset}: holds no rows")
    if total is None:
        if isinstance(dataset, Random) and samples == "all":
            raise DatasetError(f"{dataset}: have no end, so samples must be a number, not all")
        return Selection(range(sys.maxsize if samples == "all" else samples), None)
    taken = total if samples == "all" else min(samples, total)
    if seed == "first" or taken == total:
        return Selection(range(taken), total)
    chosen = np.random.Generator(np.random.PCG64(seed)).choice(total, taken, replace=False)
    return Selection(tuple(sorted(chosen.tolist())), total)
