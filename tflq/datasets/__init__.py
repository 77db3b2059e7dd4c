"""The dataset kinds: each a model of its YAML keys, with `count()` and `rows()`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Discriminator, Field, Tag

from tflq.datasets.images import Images
from tflq.datasets.npz import Npz
from tflq.datasets.python import Python
from tflq.datasets.random import Random
from tflq.datasets.rows import RandomRow, Row, Sample, TensorSpec, brackets
from tflq.datasets.tfds import Tfds
from tflq.datasets.tfrecord import TFRecord
from tflq.errors import DatasetError
from tflq.strict import Strict, did_you_mean

__all__ = [
    "KINDS",
    "Dataset",
    "Python",
    "Random",
    "RandomRow",
    "Row",
    "Sample",
    "Selection",
    "TensorSpec",
    "brackets",
    "select",
]

KINDS = ("tfds", "npz", "images", "tfrecord", "python", "random")


def _kinds_of(value: Any) -> list[str]:
    keys = value if isinstance(value, dict) else vars(value) if isinstance(value, Strict) else ()
    return [kind for kind in KINDS if kind in keys]


def _of_one_kind(value: Any) -> Any:
    if isinstance(value, Strict):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"a dataset is a mapping with one of the keys {', '.join(KINDS)}")
    kinds = _kinds_of(value)
    if len(kinds) > 1:
        raise ValueError(f"a dataset is of one kind, but both {' and '.join(kinds)} are given")
    if not kinds:
        hints = filter(None, (did_you_mean(str(key), KINDS) for key in value))
        raise ValueError(f"which kind of dataset? Give one of the keys {', '.join(KINDS)}{next(hints, '')}")
    return value


def _tag(value: Any) -> str:
    return f"<{_kinds_of(value)[0]}>"


Dataset = Annotated[
    Annotated[Tfds, Tag("<tfds>")]
    | Annotated[Npz, Tag("<npz>")]
    | Annotated[Images, Tag("<images>")]
    | Annotated[TFRecord, Tag("<tfrecord>")]
    | Annotated[Python, Tag("<python>")]
    | Annotated[Random, Tag("<random>")],
    Discriminator(_tag),
    BeforeValidator(_of_one_kind),
    Field(description="Where rows come from; the first key names the kind."),
]


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
