"""The section of a recipe that describes a dataset: a mapping of one of the kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import BeforeValidator, Discriminator, Field, Tag

from tflq.datasets.images import Images
from tflq.datasets.npz import Npz
from tflq.datasets.python import Python
from tflq.datasets.random import Random
from tflq.datasets.rows import Row, TensorSpec
from tflq.datasets.tfds import Tfds
from tflq.datasets.tfrecord import TFRecord
from tflq.strict import Strict, did_you_mean


class DatasetKind(Protocol):
    """The members of every kind of dataset. `str(dataset)` is its name in messages."""

    EXAMPLE: ClassVar[str]
    """An example for the recipes that `tflq init` writes, or an empty text if they should not show this kind."""

    def files(self) -> list[Path] | None:
        """Return the files that the rows depend on, or None if they are unknown."""

    def count(self) -> int | None:
        """Return the number of rows, or None if it is unknown before reading or infinite."""

    def rows(self, indices: Sequence[int], specs: Sequence[TensorSpec] = ..., /) -> Iterator[Row]:
        """Yield the rows at these increasing indices. `specs` are the model's inputs.

        Raise DatasetError if the data cannot be read.
        """


DATASETS = (Tfds, Npz, Images, TFRecord, Python, Random)
"""The kinds of dataset. The first key of a class names its kind. Recipes, the JSON Schema, the pages and `tflq init`
take the kinds from this list."""
KINDS = tuple(next(iter(kind.model_fields)) for kind in DATASETS)


def _kinds_of(value: Any) -> list[str]:
    keys = value if isinstance(value, dict) else vars(value) if isinstance(value, Strict) else ()
    return [kind for kind in KINDS if kind in keys]


def _of_one_kind(value: Any) -> Any:
    if isinstance(value, Strict):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"should be a mapping with one of the keys {', '.join(KINDS)}")
    kinds = _kinds_of(value)
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} are both given: keep the key of one kind of dataset")
    if not kinds:
        hints = filter(None, (did_you_mean(str(key), KINDS) for key in value))
        raise ValueError(f"the kind of dataset is missing: give one of the keys {', '.join(KINDS)}{next(hints, '')}")
    return value


def _tag(value: Any) -> str:
    return f"<{_kinds_of(value)[0]}>"


if TYPE_CHECKING:
    Dataset = DatasetKind
else:
    _TAGGED = tuple(Annotated[kind, Tag(f"<{key}>")] for kind, key in zip(DATASETS, KINDS, strict=True))
    Dataset = Annotated[
        reduce(or_, _TAGGED),
        Discriminator(_tag),
        BeforeValidator(_of_one_kind),
        Field(description="The dataset. One of its keys names the kind."),
    ]
